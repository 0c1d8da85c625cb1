"""A tokenizer that is cut down to some of its tokens."""

import json

from tokenizers import Tokenizer, processors

from spelling_transfer.tokenizer.plain import plain_tokenizer


def test_what_a_tokenizer_puts_around_a_text_has_the_new_ids(byte_level, tmp_path):
    whole = byte_level("straw", "berry", added=("<s>", "</s>"))
    begin = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", whole.token_to_id("<s>"))])
    whole.post_processor = processors.Sequence([processors.ByteLevel(), begin])
    whole.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text("{}")
    keep = [whole.token_to_id("straw"), whole.token_to_id("</s>")]
    cut = plain_tokenizer(tmp_path, keep, "", {"eos_token": "</s>"})
    ids = Tokenizer.from_str(json.dumps(cut.content)).encode("straw").ids
    assert [cut.token_ids[token] for token in ids] == whole.encode("straw").ids
