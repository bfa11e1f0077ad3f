'use strict';
// internalBinding('credentials')
const { throwErrno } = load('errno');
exports.implementsPosixCredentials = true;
exports.safeGetenv = (name) => native.getenv(name);
exports.getuid = () => native.ids()[2];
exports.geteuid = () => native.ids()[3];
exports.getgid = () => native.ids()[4];
exports.getegid = () => native.ids()[5];
exports.getgroups = () => {
  const groups = native.getgroups();
  const gid = exports.getegid();
  return groups.includes(gid) ? groups : [...groups, gid];
};
// 0, or 1 for a name that /etc/passwd or /etc/group does not have.
const setter = (which, file) => (id) => {
  if (typeof id === 'string') {
    const line = load('errno').lines(file).find((l) => l.startsWith(`${id}:`));
    if (line === undefined) return 1;
    id = Number(line.split(':')[2]);
  }
  const result = native.setId(which, id);
  if (result < 0) throwErrno(result, `set${which}`);
  return 0;
};
exports.setuid = setter('uid', '/etc/passwd');
exports.seteuid = setter('euid', '/etc/passwd');
exports.setgid = setter('gid', '/etc/group');
exports.setegid = setter('egid', '/etc/group');
exports.setgroups = exports.initgroups = () => throwErrno(-1, 'setgroups');
