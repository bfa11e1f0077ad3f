"""packaging: versions, specifiers, requirements, markers, tags and metadata."""
from packaging.markers import Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.tags import parse_tag
from packaging.utils import canonicalize_name, canonicalize_version, parse_sdist_filename, parse_wheel_filename
from packaging.version import InvalidVersion, Version

words = "1.0 1.0.post1 1.0.dev3 1.0a2 1.0rc1 0.9 1!0.1 1.0+local.7 1.0.0 2024.10".split()
print([str(v) for v in sorted(map(Version, words))], Version("1.0") == Version("1.0.0"))
version = Version("1!2.3.4b5.post6.dev7+Ubuntu.1")
print(version, version.release, version.pre, version.post, version.dev, version.local, version.epoch, version.base_version, version.is_prerelease)
specifiers = SpecifierSet(">=1.2,!=1.5.*,<2,~=1.2")
print([w for w in "1.1 1.2 1.4.9 1.5.3 1.6rc1 1.99 2.0".split() if w in specifiers], list(specifiers.filter(["1.3", "1.4a1"], prereleases=True)))
requirement = Requirement('Tool.Box[extra1,extra2]>=1,<3 ; python_version >= "3.8" and (os_name == "posix" or extra == "win")')
print(requirement.name, canonicalize_name(requirement.name), sorted(requirement.extras), requirement.specifier, requirement.marker)
environment = {"python_version": "3.11", "os_name": "posix", "sys_platform": "linux", "extra": ""}
for marker in ('python_version < "3.10"', 'sys_platform in "linux darwin"', "os_name != 'nt' and python_version > '3.9'"):
    print(marker, Marker(marker).evaluate(environment))
print(Requirement("pkg @ https://a.example/p-1.0.tar.gz#sha256=00").url)
print(parse_wheel_filename("foo_bar-1.0-1-py2.py3-none-any.whl")[:3], sorted(map(str, parse_tag("cp39.cp310-abi3-any"))), parse_sdist_filename("foo-1.0.tar.gz"))
print(canonicalize_version("1.4.0.0"), canonicalize_name("A__b.-C"))
for bad in ("1..0", "french toast"):
    try:
        Version(bad)
    except InvalidVersion as error:
        print(error)
try:
    Requirement("name [x >= 1")
except InvalidRequirement as error:
    print(error)
