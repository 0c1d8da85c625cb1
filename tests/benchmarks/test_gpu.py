"""The GPU benchmark: rows, changes and tables from what was measured; a run that ends, fails or hangs; a quick run."""

import copy
import importlib.util
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import gpu_tables
import pytest
from gpu import Bench
from gpu_plan import ANSWERS, MISSION, PARTS, Contestant, plan
from gpu_results import changes, hundred_steps_s, make_rows, read_results, slowest_in_medians, write_results

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu.py"
COMMITTED = ROOT / "benchmarks" / "results" / "h100.json"

RUNNER = """
import json, sys, time
from pathlib import Path

def tell(kind, content):
    print("@gpu-benchmark " + json.dumps({"kind": kind, "content": content}), flush=True)

tell("environment", {"device": (Path(sys.argv[2]) / "device").read_text(), "torch": "1"})
for contestant in json.loads(sys.argv[1]):
    with (Path(sys.argv[2]) / "ran").open("a") as ran:
        ran.write(contestant["contestant"] + "\\n")
    print("a line of a library")
    if contestant["run"] == "fail":
        sys.exit("no memory left")
    if contestant["run"] == "hang":
        time.sleep(600)
    if contestant["run"] == "lack":
        tell("not measured", {"why": "trl is not installed here"})
    else:
        tell("result", contestant["options"])
"""


def trained(part: str, contestant: str, setting: str, ms: float, peak_gb: float, steps: int = 12) -> dict[str, Any]:
    return {
        "part": part,
        "contestant": contestant,
        "setting": setting,
        "examples": 32,
        "examples_per_second": 32e3 / ms,
        "median_ms": ms,
        "steps_ms": [1000.0, 400.0, *[ms] * (steps - 2)],
        "start_up_s": 11.0,
        "peak_gb": peak_gb,
        "reserved_gb": peak_gb + 1,
    }


def answered(contestant: str, setting: str, speed: float) -> dict[str, Any]:
    return {
        "part": "generate",
        "contestant": contestant,
        "setting": setting,
        "tokens_per_second": speed,
        "decode_tokens_per_second": 2 * speed,
        "seconds": 1.5,
        "first_s": 4.0,
        "peak_gb": 20.0,
    }


@pytest.fixture
def details() -> list[dict[str, Any]]:
    return [
        trained("train-mission", "ours", MISSION, 50.0, 9.0, steps=100),
        trained("train-mission", "TRL", MISSION, 800.0, 10.0),
        trained("train-128", "ours", "128 × 1", 200.0, 30.0),
        answered("ours", "1,024 questions, 16 tokens", 30_000.0),
        answered("generate", "1,024 questions, 16 tokens", 10_000.0),
        {"part": "correct", "contestant": "float32, CUDA", "setting": "32 × 1", "losses": [3.0, 2.000_004, 1.0]},
        {"part": "correct", "contestant": "float32, CPU", "setting": "32 × 1", "losses": [3.0, 2.0]},
    ]


def find(rows: list[dict[str, Any]], metric: str, peer: str | None = None) -> dict[str, Any]:
    (found,) = (each for each in rows if each["metric"] == metric and each["peer_name"] == peer)
    return found


def test_a_ratio_is_above_one_where_ours_is_better(details: list[dict[str, Any]]) -> None:
    rows = make_rows(details)
    speed = find(rows, "training, 8 × 4", "TRL")
    assert (speed["ours"], speed["peer"], speed["ratio"], speed["goal"]) == (640, 40, 16, 12)
    assert find(rows, "training, 8 × 4: peak memory", "TRL")["ratio"] == pytest.approx(10 / 9, abs=1e-3)
    assert find(rows, "generation, 1,024 questions, 16 tokens: whole calls", "generate")["ratio"] == 3


def test_a_peer_that_was_not_measured_leaves_no_ratio(details: list[dict[str, Any]]) -> None:
    found = find(make_rows(details), "training, 128 × 1", "TRL")
    assert (found["ours"], found["peer"], found["ratio"]) == (160, None, None)


def test_a_hundred_steps_are_counted_or_extrapolated_without_stalls(details: list[dict[str, Any]]) -> None:
    ours, trl = details[:2]
    assert hundred_steps_s(ours) == pytest.approx(11 + 0.4 + 98 * 0.05)
    assert hundred_steps_s(trl) == pytest.approx(11 + 99 * 0.8)  # the stall of its second step is left out
    rows = make_rows(details)
    wall = find(rows, "training, 8 × 4: start-up and 100 steps", "TRL, extrapolated from its median")
    assert wall["ratio"] == pytest.approx(90.2 / 16.3, abs=1e-3)


def test_a_stall_after_the_third_step_is_seen_and_one_before_is_not(details: list[dict[str, Any]]) -> None:
    steady = details[0]
    assert slowest_in_medians(steady) == 1
    stalled = {**steady, "steps_ms": [*steady["steps_ms"][:50], 2_500.0, *steady["steps_ms"][51:]]}
    assert slowest_in_medians(stalled) == 50


def test_losses_are_compared_over_the_steps_that_both_have(details: list[dict[str, Any]]) -> None:
    (found,) = (each for each in make_rows(details) if each["metric"].startswith("losses of 2 steps"))
    assert found["ours"] == pytest.approx(4)
    assert found["unit"] == "1e-6 nats a token"


def test_only_what_changed_by_more_than_five_percent_is_named(details: list[dict[str, Any]]) -> None:
    now = copy.deepcopy(details)
    now[0]["peak_gb"] *= 1.04
    now[0]["examples_per_second"] *= 1.2
    now[1]["median_ms"] *= 1.06
    assert changes(details, details) == []
    assert changes(now, details) == [
        "train-mission, ours, 8 × 4: examples_per_second 640 → 768 (+20%, better)",
        "train-mission, TRL, 8 × 4: median_ms 800 → 848 (+6%, worse)",
    ]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "device").write_text("card")
    (tmp_path / "runner.py").write_text(RUNNER)
    return folder


def bench(data: Path, **more: Any) -> Bench:
    folder = data.parent
    return Bench(folder / "results.json", folder / "log.txt", data, runner=folder / "runner.py", **more)


def ran(data: Path) -> list[str]:
    return (data / "ran").read_text().split()


def small(name: str, run: str = "work", process: str = "one", limit_s: float = 30.0) -> Contestant:
    return Contestant("shapes", name, "any", process, run, {"widths": [], "name": name}, limit_s)


def test_a_run_goes_on_where_it_was(data: Path) -> None:
    bench(data).run([small("a"), small("b")])
    again = bench(data)
    again.run([small("a"), small("b"), small("c")])
    assert ran(data) == ["a", "b", "c"]
    assert [each["contestant"] for each in read_results(data.parent / "results.json")["details"]] == ["a", "b", "c"]


def test_what_fails_is_noted_and_the_rest_goes_on(data: Path) -> None:
    first = bench(data)
    first.run([small("a"), small("b", "fail"), small("c"), small("d", "lack"), small("e", process="two")])
    found = read_results(data.parent / "results.json")
    assert [each["contestant"] for each in found["details"]] == ["a", "c", "e"]
    (failure,) = found["failures"]
    assert failure["contestant"] == "b"
    assert failure["why"] == "ended with exit code 1\nno memory left"
    assert [each["why"] for each in found["not_measured"]] == ["trl is not installed here"]
    second = bench(data)
    second.run([small("a"), small("b")])  # what failed is tried again, and no longer noted
    assert ran(data) == ["a", "b", "c", "d", "e", "b"]
    assert second.results["failures"] == []


def test_what_takes_too_long_is_ended_and_the_rest_goes_on(data: Path) -> None:
    run = bench(data)
    run.run([small("a", "hang", limit_s=1.0), small("b")])
    assert [each["contestant"] for each in run.results["details"]] == ["b"]
    assert run.results["failures"][0]["why"].startswith("took longer than 1 s")


def test_what_no_time_is_left_for_is_noted(data: Path) -> None:
    run = bench(data, limit_s=5.0)
    run.run([small("a")])
    assert "time of the whole run was used up" in run.results["failures"][0]["why"]
    assert not (data / "ran").exists()


def test_results_of_two_cards_are_not_mixed(data: Path) -> None:
    bench(data).run([small("a")])
    (data / "device").write_text("another card")
    with pytest.raises(SystemExit, match=r"another machine or other versions \(device\)"):
        bench(data).run([small("b")])
    assert [each["contestant"] for each in read_results(data.parent / "results.json")["details"]] == ["a"]


def test_a_cpu_is_not_measured_as_a_gpu(data: Path) -> None:
    (data / "device").write_text("CPU")
    with pytest.raises(SystemExit, match="torch finds no GPU here"):
        bench(data).run([small("a")])
    assert not (data.parent / "results.json").exists()
    bench(data, quick=True).run([small("a")])
    assert [each["contestant"] for each in read_results(data.parent / "results.json")["details"]] == ["a"]


def test_contestants_have_names_of_their_own_and_known_parts() -> None:
    found = plan(PARTS)
    assert len({each.key for each in found}) == len(found)
    assert {each.part for each in found} == set(PARTS)
    assert {each.process for each in found if each.on_cpu}.isdisjoint(each.process for each in found if not each.on_cpu)


def test_an_unknown_part_is_named() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--parts", "train-64"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "train-64 is none of correct" in done.stderr


def test_tables_go_between_the_markers_and_nowhere_else(details: list[dict[str, Any]], tmp_path: Path) -> None:
    file, page = tmp_path / "results.json", tmp_path / "page.md"
    versions = {"device": "NVIDIA H100 80GB HBM3", "torch": "2.11.0"}
    failures = [{"part": "train-512", "contestant": "ours", "setting": "512 × 1", "why": "exit code 1\nno memory"}]
    write_results(
        file, {"rows": [], "details": details, "failures": failures, "not_measured": [], "versions": versions}
    )
    page.write_text(f"before\n\n{gpu_tables.BEGIN}\nold\n{gpu_tables.END}\n\nafter\n")
    command = [sys.executable, SCRIPT.with_name("gpu_tables.py"), file, "--write", page]
    subprocess.run(command, check=True)
    text = page.read_text()
    assert gpu_tables.between_markers(text) == gpu_tables.render(read_results(file))
    assert text.startswith("before\n\n<!--")
    assert text.endswith("-->\n\nafter\n")
    assert "old" not in text
    assert "| 8 × 4 | ours | 640 | 50.0 | 9.0 | 11.0 | 1.0 | 16 |" in text
    assert "Not measured (no memory): train-512, ours, 512 × 1.\n" in text


def test_the_tables_of_the_page_are_those_of_the_committed_results() -> None:
    shown = gpu_tables.between_markers((ROOT / "docs" / "training.md").read_text())
    expected = gpu_tables.render(read_results(COMMITTED)) if COMMITTED.is_file() else None
    assert shown == expected, f"python benchmarks/gpu_tables.py {COMMITTED.relative_to(ROOT)} --write docs/training.md"


def test_a_quick_run_measures_here(tmp_path: Path) -> None:
    from gpu_kit import write_data

    write_data(tmp_path / "data", words=600, examples=100, questions=10)
    command = [sys.executable, SCRIPT, "--quick", "--data", tmp_path / "data", "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["failures"] == []
    measured = {(each["part"], each["contestant"]) for each in found["details"]}
    assert {("train-mission", "ours"), ("generate", "ours"), ("generate", "generate")} <= measured
    assert (("train-mission", "TRL") in measured) == (importlib.util.find_spec("trl") is not None)
    rows = found["rows"]
    (losses,) = (each for each in rows if each["metric"].startswith("losses of 3 steps"))
    assert losses["ours"] < 10  # the same step in one batch and in two, in float32
    assert find(rows, "answers, CPU and answers of generate, CPU: equal")["ours"] == 1
    assert "prove nothing" in done.stdout


def test_a_wheel_keeps_the_libraries_of_one_machine_and_can_be_installed(tmp_path: Path) -> None:
    from gpu_kit import keep_libraries

    wheel = tmp_path / "some-1-py3-none-any.whl"
    names = ("some/__init__.py", "some/lib_cuda118.so", "some/lib_cuda130.so", "some/lib_cpu.so")
    with zipfile.ZipFile(wheel, "w") as whole:
        for name in names:
            whole.writestr(name, "")
        whole.writestr("some-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: some\nVersion: 1\n")
        whole.writestr("some-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        whole.writestr("some-1.dist-info/RECORD", "".join(f"{name},,\n" for name in names))
    keep_libraries(wheel, ("cuda130.so", "_cpu.so"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target"]
    subprocess.run([*pip, str(tmp_path / "site"), str(wheel)], check=True)
    found = {file.name for file in (tmp_path / "site" / "some").iterdir() if file.suffix in (".py", ".so")}
    assert found == {"__init__.py", "lib_cuda130.so", "lib_cpu.so"}


def test_small_passes_are_compared_with_trl_in_speed_and_memory(details: list[dict[str, Any]]) -> None:
    small = trained("train-mission", "ours, pass_tokens 480", MISSION, 80.0, 9.5)
    rows = make_rows([*details, small])
    assert find(rows, "training, 8 × 4, pass_tokens 480", "TRL")["ratio"] == 10
    assert find(rows, "training, 8 × 4, pass_tokens 480: peak memory", "TRL")["ratio"] == pytest.approx(
        10 / 9.5, abs=1e-3
    )


def test_every_way_of_answering_is_compared_between_the_devices() -> None:
    same = {"part": "correct", "setting": "64 × 8", "answers": ["a", "b"]}
    details = [{**same, "contestant": f"{who}, {where}"} for who in ANSWERS for where in ("CUDA", "CPU")]
    equal = [each["metric"] for each in make_rows(details) if each["metric"].endswith(": equal")]
    assert equal == [f"{who}, CUDA and {who}, CPU: equal" for who in ANSWERS]
    planned = {each.contestant for each in plan(("correct",))}
    assert {each["contestant"] for each in details} <= planned
