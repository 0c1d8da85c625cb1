from kedro.io import DataCatalog, MemoryDataset

from spelling_transfer.pages.run_results import Results, collect_results, location
from spelling_transfer.storage import JSONDataset, TextDataset


def test_results_are_found_on_remote_storage_with_links_between_the_pages() -> None:
    root = "memory://bucket/study/08_reporting"
    catalog = DataCatalog(
        {
            "conformance": JSONDataset(filepath=f"{root}/conformance.json"),
            "tuning_page": TextDataset(filepath=f"{root}/tuning/reports/index.html"),
            "evaluation_page": TextDataset(filepath=f"{root}/evaluation/index.html"),
            "summary_page": TextDataset(filepath=f"{root}/index.html"),
        }
    )
    catalog["conformance"].save({"checks": []})
    catalog["tuning_page"].save("<p>tuning</p>")
    results = collect_results(catalog, frozenset({"conformance"}))
    assert results.conformance == {"checks": []}
    assert results.pages == {"tuning_page": "tuning/reports/index.html"}
    assert location(catalog["summary_page"]).startswith("memory://")


def test_a_dataset_that_is_kept_nowhere_has_no_location() -> None:
    assert location(MemoryDataset(1)) == ""


def test_the_level_of_intervals_is_that_of_the_evaluation_and_not_of_a_later_run() -> None:
    later = {"evaluation": {"confidence": 0.9}}
    assert Results(parameters=later, verdict={"confidence": 0.95}).confidence == 0.95
    assert Results(parameters=later).confidence == 0.9


def test_the_hash_of_the_parameters_knows_no_order() -> None:
    one, other = (
        Results(parameters={"a": 1, "b": {"c": 2, "d": 3}}),
        Results(parameters={"b": {"d": 3, "c": 2}, "a": 1}),
    )
    assert one.parameters_sha256 == other.parameters_sha256
    assert one.parameters_sha256 != Results(parameters={"a": 1, "b": {"c": 2, "d": 4}}).parameters_sha256
    named = Results(parameters={"a": 1, "b": {"c": 2, "d": 3}, "run_env": "mac"})
    assert one.parameters_sha256 == named.parameters_sha256
