"""What the template's two renderings cost: counted, never answered."""

from dataclasses import replace

import pytest

from spelling_transfer.tokenizer.template_cost import TemplateCost, TemplateCostError, compare_template_cost

QUESTIONS = ["How do you spell strawberry?", "Spell cat.", "Say <|im_end|> and spell it.", "{{ 7 * 7 }}"]


def test_the_empty_block_is_the_difference_in_every_prompt(tokenizer):
    cost = compare_template_cost(tokenizer, QUESTIONS, TemplateCost())
    assert cost["questions"] == len(QUESTIONS)
    assert (cost["extra_tokens"], cost["extra_is_constant"]) == (4, True)
    assert {row["token_id"]: row["per_prompt"] for row in cost["extra"]} == {271: 2, 151_667: 1, 151_668: 1}
    assert not any("<" in row["text"] for row in cost["extra"])


def test_the_non_thinking_prompts_are_those_of_the_one_prompt_function(tokenizer):
    cost = compare_template_cost(tokenizer, QUESTIONS, TemplateCost())
    lengths = [len(ids) for ids in tokenizer.encode_prompts(QUESTIONS)]
    assert cost["non_thinking"]["mean_tokens"] == sum(lengths) / len(lengths)
    assert (cost["non_thinking"]["min_tokens"], cost["non_thinking"]["max_tokens"]) == (min(lengths), max(lengths))
    assert cost["other_mode"]["max_tokens"] == max(lengths) - 4


def test_a_sample_is_spread_over_the_questions(tokenizer):
    questions = ["Spell cat."] * 50 + ["Spell the word strawberry, letter by letter."] * 50
    cost = compare_template_cost(tokenizer, questions, TemplateCost(questions=10))
    assert cost["questions"] == 10
    assert cost["non_thinking"]["max_tokens"] > cost["non_thinking"]["min_tokens"]


def test_a_template_without_modes_costs_nothing_more(tokenizer, byte_level, chat):
    source = "{% for m in messages %}<u>{{ m.content }}</u>{% endfor %}"
    plain = replace(
        chat(byte_level(added=("<u>", "</u>"))), template_source=source, prefix="<u>", suffix="</u>",
        prefix_ids=(256,), suffix_ids=(257,),
    )  # fmt: skip
    cost = compare_template_cost(plain, ["cat"], TemplateCost())
    assert (cost["extra_tokens"], cost["extra"]) == (0, [])
    assert cost["non_thinking"]["mean_tokens"] == 5


def test_both_renderings_begin_with_what_the_template_names(own_chat):
    for template in ([], ["{{ bos_token }}User: {{ messages[0].content }} Bot:"]):
        assert compare_template_cost(own_chat(*template), ["cat"], TemplateCost())["extra"] == []


def test_it_works_with_a_tokenizer_that_is_not_byte_level(word_piece, chat):
    assert compare_template_cost(chat(word_piece), ["straw"], TemplateCost())["questions"] == 1


def test_nothing_to_render_is_a_clear_error(tokenizer):
    with pytest.raises(TemplateCostError, match=r"no questions .*local_prep"):
        compare_template_cost(tokenizer, [], TemplateCost())
    with pytest.raises(TemplateCostError, match="without its chat template"):
        compare_template_cost(replace(tokenizer, template_source=""), ["Spell cat."], TemplateCost())
