from pathlib import Path

from runner.sdk.testing import Fail, Tries, load, play

deploy = load(Path(__file__).parents[1] / ".runner/workflows/deploy.py")
VERSION = {"version": "1.4.2"}


def test_a_deploy_goes_where_the_yes_says():
    played = play(deploy, results=VERSION, events={"approval": {"region": "eu"}})

    assert played.value == {"version": "1.4.2", "region": "eu"}
    assert played["ship"].request["env"] == {"REGION": "eu", "VERSION": "1.4.2"}


def test_a_yes_without_a_region_ships_nothing():
    played = play(deploy, results=VERSION, events={"approval": {}})

    assert played.result == "success"
    assert "ship" not in played.names


def test_a_flaky_test_is_tried_again():
    results = {**VERSION, "test": Tries(Fail("flaky"), {})}

    assert play(deploy, results=results, events={"approval": {"region": "eu"}}).result == "success"


def test_without_a_yes_nothing_is_shipped():
    played = play(deploy, results=VERSION)

    assert played.failure.type == "TimedOut"
    assert "ship" not in played.names
