// semver: versions parsed, compared, increased; ranges matched, intersected, simplified.
const semver = require('semver');

console.log('1.2.3 1.2.3-alpha.1 1.2.3-alpha.beta 1.10.0 1.2.3+build 0.0.0-0 1.2.3-rc.10 1.2.3-rc.9'.split(' ').sort(semver.compareBuild));
for (const v of ['v1.2.3', ' =1.2.3-beta+b ', '1.2', '01.2.3', '1.2.3.4', 'latest', '9007199254740992.0.0', '1.2.3-0.x.-']) console.log(v, semver.valid(v), semver.clean(v), semver.coerce(v)?.version);
for (const kind of ['major', 'minor', 'patch', 'premajor', 'preminor', 'prepatch', 'prerelease']) console.log(kind, semver.inc('1.2.3', kind, 'beta'), semver.inc('1.2.3-beta.4', kind, 'beta'), semver.inc('2.0.0-rc', kind));
const versions = ['0.2.3', '0.2.9', '1.0.0', '1.2.3', '1.2.9-beta.1', '1.9.0', '2.0.0-rc.1', '2.0.0', '3.1.4'];
for (const range of ['^1.2.3', '~1.2', '1.x', '>=1.0.0 <2.0.0 || 3', '^0.2.3', '1.2.3 - 1.9', '*', '', '>1', '<=2.0.0-rc.1', '~>1', '^1.2.9-alpha', 'not a range']) {
  const valid = semver.validRange(range);
  console.log(JSON.stringify(range), valid, valid === null ? '' : versions.filter(v => semver.satisfies(v, range)).join(' '), valid === null ? '' : semver.maxSatisfying(versions, range, { includePrerelease: true }), valid === null ? '' : semver.minVersion(range).version);
}
console.log(semver.diff('1.2.3', '1.3.0-pre'), semver.gt('1.10.0', '1.9.9'), semver.intersects('^1.2', '>=1.5 <3'), semver.subset('~1.2.3', '^1.0'), semver.gtr('2.0.0', '^1'), semver.ltr('0.1.0', '^1'), semver.outside('1.5.0', '~1.2', '>'));
console.log(semver.simplifyRange(versions, '1.0.0 || 1.2.3 || 1.9.0'), new semver.Range('^1.2 <1.8').set.map(c => c.map(String)), semver.prerelease('1.2.3-a.1'), new semver.SemVer('1.2.3').compareMain('1.2.4'), semver.rcompare('1.0.0', '2.0.0'), semver.cmp('1.0.0', '>=', '1.0.0-x'));
try {
  new semver.SemVer('nonsense');
} catch (error) {
  console.log(error.name, error.message);
}
