"""`pycnn choose`: real but short measurements of small networks; what is asserted does not depend on their times."""

import json

import pytest
from typer.testing import CliRunner

import pycnn
from pycnn import cli
from pycnn.cli.choose import KINDS, parse_latency
from pycnn.registry import find_model


def run(*arguments):
    return CliRunner().invoke(cli.app, ["choose", *map(str, arguments)])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("20ms", 0.02), ("0.02s", 0.02), ("500us", 5e-4), ("500 µs", 5e-4), (".5s", 0.5), ("2e-2s", 0.02)],
)  # fmt: skip
def test_latencies_have_units(text, seconds):
    assert parse_latency(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["20", "ms", "-1ms", "0ms", "20 minutes", ""])
def test_what_is_no_latency_is_one_sentence(text):
    result = run("--task", "segmentation", f"--latency={text}")
    assert result.exit_code == 1 and result.stdout == ""
    assert result.stderr.startswith(f"pycnn: latency {text!r} must be a positive time")


def test_the_cheapest_predicted_come_first_and_are_measured():
    result = run("--task", "small-images", "--latency", "100s", "--max-params", 100_000, "--json")
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    rows = record["candidates"]
    assert record["latency_s"] == 100 and {"basic_cnn", "lenet_like"} <= {r["model"] for r in rows}
    assert [r["predicted_s"] for r in rows] == sorted(r["predicted_s"] for r in rows)
    for row in rows:
        assert row["measured_s"] > 0 and row["fits"] is True and row["note"] == ""
        assert row["parameters"] <= 100_000 and max(row["size"]) <= 32
        assert row["paper"] == str(find_model(row["model"]).family.paper)


def test_without_time_only_one_is_measured_and_the_others_say_so():
    asked = ("--task", "small-images", "--latency", "100s", "--max-params", 100_000)
    rows = json.loads(run(*asked, "--seconds", 0.001, "--json").stdout)["candidates"]
    first, *others = rows
    assert first["measured_s"] > 0 and first["fits"] is True
    assert others
    for row in others:
        assert row["measured_s"] is None and row["fits"] is None
        assert row["note"] == "no time left, only predicted"


def test_what_cannot_fit_is_not_timed_and_the_status_says_that_none_fits():
    result = run("--task", "segmentation", "--latency", "1us", "--batch", 2)
    assert result.exit_code == 1
    last = result.stderr.splitlines()[-1]
    assert last == "pycnn: no model for segmentation was measured to take at most 1us"
    assert f"0 of {len(pycnn.list_models(task='segmentation'))} measured" in result.stdout


def test_multiply_adds_are_of_the_batch_and_of_the_size_asked_for():
    asked = ("--task", "restoration", "--latency", "1us", "--json")
    own, other = (
        {r["model"]: r for r in json.loads(run(*asked, *options).stdout)["candidates"]}
        for options in ((), ("--batch", 3, "--size", 128))
    )
    assert set(own) == set(pycnn.list_models(task="restoration"))
    assert other["dncnn"]["gmacs"] == pytest.approx(own["dncnn"]["gmacs"] * 3 / 4)
    assert other["srresnet_x4"]["gmacs"] == pytest.approx(own["srresnet_x4"]["gmacs"] * 3)
    most = other["dncnn"]["gmacs"]
    rows = json.loads(run(*asked, "--batch", 3, "--size", 128, "--max-gmacs", most).stdout)
    assert {r["model"] for r in rows["candidates"]} == {
        name for name, row in other.items() if row["gmacs"] <= most
    }


def test_the_table_names_what_fits():
    result = run("--task", "small-images", "--latency", "100s", "--max-params", 50_000)
    assert result.exit_code == 0, result.stderr
    assert "small-images: at most 100,000 ms a call of 1" in result.stdout
    assert "lenet_like" in result.stdout and "that fit: fastest" in result.stdout


def test_a_model_that_cannot_run_at_a_size_does_not_fit():
    rows = json.loads(
        run("--task", "small-images", "--latency", "100s", "--size", 20, "--max-params", 50_000, "--json").stdout
    )["candidates"]  # fmt: skip
    (lenet,) = (r for r in rows if r["model"] == "lenet_like")
    assert lenet["fits"] is False and lenet["note"].startswith("cannot run on 20x20 images: ")


def test_kinds_name_families_of_the_zoo():
    names = {find_model(n).family.name for n in pycnn.list_models(task="classification")}
    for families, _ in KINDS.values():
        assert set(families) <= names


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--task", "singing", "--latency", "1s"), "unknown task 'singing': it is one of classif"),
        (("--task", "detection", "--latency", "1s", "--max-params", 9), "is as small as asked for"),
    ],
)
def test_what_cannot_be_chosen_is_one_sentence(arguments, sentence):
    result = run(*arguments)
    assert result.exit_code == 1 and result.stdout == ""
    assert sentence in result.stderr.splitlines()[-1]
