"""pyproject.toml and the two files of exact versions, those of today and the lowest, agree."""

import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from cnnclf._utils.extras import LIBRARIES
from helpers import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
OF_USERS = ("cli", "data", "parquet", "report", "skl2onnx", "xlsx")  # the extras that `all` brings together
AT_LOWEST = [*PROJECT["dependencies"], *(line for extra in (*OF_USERS, "test") for line in EXTRAS[extra])]


def requirements(lines):
    """Read all that name other packages than this one."""
    return [r for r in map(Requirement, lines) if r.name != PROJECT["name"]]


def pinned(file):
    """Read the version of each package in a file of constraints."""
    lines = [line for line in (ROOT / file).read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    pins = {canonicalize_name(name): Version(version) for name, version in (line.split("==") for line in lines)}
    assert len(pins) == len(lines), f"{file} names a package twice"
    return pins


def lowest(requirement):
    """Read the version behind >=."""
    (bound,) = [part.version for part in requirement.specifier if part.operator == ">="]
    return Version(bound)


def not_at_lowest(lines, pins):
    """Say which packages are pinned at something else than their lowest version."""
    return {r.name: str(lowest(r)) for r in requirements(lines) if pins.get(canonicalize_name(r.name)) != lowest(r)}


def test_all_brings_every_extra_of_users_and_tests_and_documentation_have_it():
    assert EXTRAS["all"] == [f"cnnclf[{','.join(OF_USERS)}]"]
    assert all("cnnclf[all]" in EXTRAS[extra] for extra in ("test", "docs"))


def test_the_errors_name_the_extra_that_brings_a_library():
    brought = {extra: {r.name for r in requirements(EXTRAS[extra])} for extra in OF_USERS}
    assert all(distribution in brought[extra] for distribution, extra in LIBRARIES.values())
    assert {extra for _, extra in LIBRARIES.values()} == set(OF_USERS)
    assert set().union(*brought.values()) == {distribution for distribution, _ in LIBRARIES.values()}


def test_the_lowest_versions_that_are_tested_are_those_that_are_allowed():
    assert not_at_lowest(AT_LOWEST, pinned("constraints-lowest.txt")) == {}


def test_a_lower_bound_that_is_not_tested_is_found():
    pins = {"numpy": Version("2.0.0"), "torch": Version("2.13.0")}
    assert not_at_lowest(["numpy>=2.0", "torch>=2.11", "rich>=13.9", "cnnclf[test]"], pins) == {
        "torch": "2.11",
        "rich": "13.9",
    }


def test_a_package_has_one_lower_bound_whoever_asks_for_it():
    bounds = {}
    for r in requirements([*PROJECT["dependencies"], *(line for extra in EXTRAS.values() for line in extra)]):
        bounds.setdefault(canonicalize_name(r.name), set()).add(lowest(r))
    assert {name: found for name, found in bounds.items() if len(found) > 1} == {}


@pytest.mark.parametrize("extra", [None, *EXTRAS])
def test_the_versions_of_today_are_allowed(extra):
    today = pinned("constraints.txt")
    for r in requirements(PROJECT["dependencies"] if extra is None else EXTRAS[extra]):
        assert today[canonicalize_name(r.name)] in r.specifier, r
