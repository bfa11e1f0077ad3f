exports.self = (function () { return this; })();
exports.args = arguments.length === 5 ? arguments : [];
exports.parent = function (a) { with ({ a }) return a; };
