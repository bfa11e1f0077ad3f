//! The Node polyfill, natively: every `polyfills/node/test/NAME.js` prints what `NAME.out` says, and each module in the list of
//! what is there (`polyfills/node/modules.toml`) loads or refuses as it says.
//!
//! The goldens are what Debian's own nodejs prints. With `NODE_REFERENCE=/path/to/node` that program is judged instead, which
//! proves the goldens; with `BLESS=1` beside it they are written anew.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use libtest_mimic::{Arguments, Failed, Trial};
use xtask::{paths, polyfill};

fn main() -> Result<()> {
    let arguments = Arguments::from_args();
    let root = paths::root().join("polyfills/node");
    let reference = std::env::var_os("NODE_REFERENCE").map(PathBuf::from);
    let program = match (&reference, arguments.list) {
        (Some(node), _) => node.clone(),
        (None, true) => PathBuf::new(),
        (None, false) => polyfill::node::build()?,
    };
    let mut trials = Vec::new();
    for entry in std::fs::read_dir(root.join("test"))? {
        let script = entry?.path();
        if script.extension().is_none_or(|e| e != "js") {
            continue;
        }
        let name = script.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let program = program.clone();
        trials.push(Trial::test(name, move || golden(&program, &script).map_err(failed)));
    }
    if reference.is_none() {
        for module in polyfill::node::modules()? {
            let program = program.clone();
            let name = format!("module {}", module.name);
            trials.push(Trial::test(name, move || loads(&program, &module).map_err(failed)));
        }
        trials.push(Trial::test("documentation", || documentation().map_err(failed)));
        let warmed = program.clone();
        trials.push(Trial::test("warm", move || warm(&warmed).map_err(failed)));
        trials.push(Trial::test("requirements", move || requirements(&program).map_err(failed)));
    }
    libtest_mimic::run(&arguments, trials).exit()
}

#[expect(clippy::needless_pass_by_value, reason = "used as a function value")]
fn failed(error: anyhow::Error) -> Failed {
    Failed::from(format!("{error:#}"))
}

/// Runs a script and compares what it prints, and its exit status, with the file beside it.
fn golden(program: &Path, script: &Path) -> Result<()> {
    let directory = script.parent().context("a script lies in a directory")?;
    let out = Command::new(program).arg(script.file_name().unwrap_or_default()).current_dir(directory).output()?;
    let got = format!("{}exit status {}\n", String::from_utf8_lossy(&out.stdout), out.status.code().unwrap_or(-1));
    let golden = script.with_extension("out");
    if std::env::var_os("BLESS").is_some() && std::env::var_os("NODE_REFERENCE").is_some() {
        std::fs::write(&golden, &got)?;
    }
    let wanted = std::fs::read_to_string(&golden)?;
    if got != wanted {
        let line = got.lines().zip(wanted.lines()).take_while(|(a, b)| a == b).count();
        bail!(
            "line {}: got {:?}, wanted {:?}; stderr: {}",
            line + 1,
            got.lines().nth(line),
            wanted.lines().nth(line),
            String::from_utf8_lossy(&out.stderr)
        );
    }
    Ok(())
}

/// Requires a module by its name.
fn loads(program: &Path, module: &polyfill::node::Module) -> Result<()> {
    let source = format!("require({:?})", module.name);
    let out = Command::new(program).arg("-e").arg(source).output()?;
    match (module.there, out.status.success()) {
        (true, false) => bail!("does not load: {}", String::from_utf8_lossy(&out.stderr)),
        (false, true) => bail!("loads, but the list says it does not"),
        (false, false) if !String::from_utf8_lossy(&out.stderr).contains("not available") => {
            bail!("does not say why it refuses: {}", String::from_utf8_lossy(&out.stderr))
        }
        _ => Ok(()),
    }
}

/// `docs/node.md` is what the list makes of it. `BLESS=1` writes it.
fn documentation() -> Result<()> {
    let path = paths::root().join("docs/node.md");
    let wanted = polyfill::node::documentation()?;
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &wanted)?;
    }
    if std::fs::read_to_string(&path).unwrap_or_default() != wanted {
        bail!("docs/node.md is not what polyfills/node/modules.toml makes: run with BLESS=1");
    }
    Ok(())
}

/// Modules, and why they cannot be loaded before a snapshot: nothing for those that can.
const MODULES: &[(&str, &str, Option<&str>)] = &[
    ("quiet", "exports.part = require('./part');", None),
    ("needs", "exports.quiet = require('../quiet');", None),
    ("file", "exports.text = require('fs').readFileSync(__dirname + '/part.js', 'utf8');", None),
    ("variable", "exports.value = process.env.WARM_TEST;", None),
    ("global", "globalThis.warmGlobal = exports;", None),
    ("prototype", "Array.prototype.warmMethod = () => 1;", None),
    ("listener", "process.on('warm', () => {});", None),
    ("extension", "require.extensions['.warm'] = (module) => { module.exports = 'warm'; };", None),
    ("time", "exports.at = Date.now();", Some("asks for the time")),
    ("monotonic", "exports.at = process.hrtime();", Some("asks for the time")),
    ("zone", "exports.at = new Date(0).getHours();", Some("asks for the time")),
    ("random", "exports.id = Math.random();", Some("asks for random numbers")),
    ("uuid", "exports.id = require('crypto').randomUUID();", Some("calls the system (randomFill)")),
    ("arguments", "exports.all = process.argv.slice();", Some("reads process.argv")),
    ("directory", "exports.here = process.cwd();", Some("reads process.cwd")),
    ("environment", "exports.all = { ...process.env };", Some("calls the system (envNames)")),
    ("sets", "process.env.WARM_TEST = '1';", Some("calls the system (setenv)")),
    ("prints", "console.log('loaded');", Some("reads process.stdout")),
    ("terminal", "exports.is = require('tty').isatty(1);", Some("calls the system (isatty)")),
    ("timer", "setTimeout(() => {}, 5).unref();", Some("asks for the time")),
    ("later", "setImmediate(() => {}); ", Some("leaves something to be done later")),
    ("server", "require('net').createServer().listen(0);", Some("calls the system (socket)")),
    ("writes", "require('fs').writeFileSync('/tmp/warm-test', '');", Some("writes files")),
    ("child", "require('child_process').spawnSync('/bin/true');", Some("calls the system")),
    ("signal", "process.on('SIGUSR2', () => {});", Some("calls the system (signalPipe)")),
    ("inherits", "Object.setPrototypeOf(Map.prototype, {});", Some("changes globalThis.Map.prototype.__proto__")),
    ("leaves", "delete require.cache[__filename];", Some("takes itself out of require.cache")),
    ("throws", "throw new Error('no');", Some("Error: no")),
    ("ends", "process.exit(3);", Some("sets process.exitCode")),
];

/// What a run finds of the modules that could be loaded before, and of those whose files are others now.
const RUN: &str = r"
const assert = require('assert'), fs = require('fs');
globalThis.phase = 'run';
const at = (name) => `${process.argv[1]}/node_modules/${name}`;
assert.deepStrictEqual(Object.keys(require.cache), []);
assert(!('warmGlobal' in globalThis) && !('warmMethod' in []) && process.listenerCount('warm') === 0 && !require.extensions['.warm']);
const quiet = require(at('quiet'));
assert.strictEqual(quiet.phase, 'warm');
assert.deepStrictEqual(Object.keys(require.cache).sort(), [at('quiet/index.js'), at('quiet/part.js')]);
assert.strictEqual(require(at('quiet')), quiet);
assert.strictEqual(require.cache[at('quiet/index.js')].parent, module);
delete require.cache[at('quiet/index.js')];
assert.strictEqual(require(at('quiet')).phase, 'run');
assert.strictEqual(require(at('needs')).quiet.phase, 'run');
assert.strictEqual(require(at('global')), warmGlobal);
assert.strictEqual(warmGlobal.phase, 'warm');
assert.strictEqual(require(at('prototype')).phase, 'warm');
assert.strictEqual([].warmMethod(), 1);
assert.strictEqual(require(at('listener')).phase, 'warm');
assert.strictEqual(process.listenerCount('warm'), 1);
// Somebody else has put something in its place: then it is loaded.
require.extensions['.warm'] = () => {};
assert.strictEqual(require(at('extension')).phase, 'run');
for (const name of ['time', 'random', 'arguments', 'prints-not']) if (fs.existsSync(at(name))) assert.strictEqual(require(at(name)).phase, 'run');
switch (process.argv[2]) {
  case 'same':
    assert.strictEqual(require(at('file')).phase, 'warm');
    assert.strictEqual(require(at('variable')).phase, 'warm');
    break;
  case 'file':
    fs.appendFileSync(at('file/part.js'), '// changed');
    assert(require(at('file')).text.endsWith('changed') && require(at('file')).phase === 'run');
    break;
  case 'own':
    fs.writeFileSync(at('file/index.js'), 'exports.phase = 2;');
    assert.strictEqual(require(at('file')).phase, 2);
    break;
  case 'main':
    fs.writeFileSync(at('file/package.json'), JSON.stringify({ main: 'other.js' }));
    fs.writeFileSync(at('file/other.js'), 'exports.phase = 3;');
    assert.strictEqual(require(at('file')).phase, 3);
    break;
  case 'variable':
    process.env.WARM_TEST = '2';
    assert.strictEqual(require(at('variable')).value, '2');
    break;
}
";

/// Modules that are loaded before a snapshot: what they did is taken back and done again, and none is used for what it is not any more.
fn warm(program: &Path) -> Result<()> {
    for case in ["same", "file", "own", "main", "variable"] {
        let dir = tempfile::tempdir()?;
        let root = dir.path().canonicalize()?;
        let mut names = Vec::new();
        // Those that are refused need to be tried once.
        let modules: Vec<_> = MODULES.iter().filter(|m| case == "same" || m.2.is_none()).collect();
        for (name, text, _) in &modules {
            let place = root.join("node_modules").join(name);
            std::fs::create_dir_all(&place)?;
            let whole = format!("'use strict';\n{text}\nexports.phase = globalThis.phase ?? 'warm';\n");
            std::fs::write(place.join("index.js"), whole)?;
            std::fs::write(place.join("part.js"), "exports.part = 1;\n")?;
            names.push(place.display().to_string());
        }
        let mut command = Command::new(program);
        command.args(["-e", RUN]).arg(&root).arg(case).env("MEGALITH_WARM", names.join(":")).env_remove("WARM_TEST");
        let out = command.output()?;
        let said = String::from_utf8_lossy(&out.stderr);
        if !out.status.success() {
            bail!("{case}: {said}");
        }
        for ((name, _, reason), place) in modules.iter().zip(&names) {
            let line = match reason {
                Some(reason) => format!("megalith: not warmed: {place}: {reason}"),
                None => format!("megalith: warmed: {place}"),
            };
            if !said.lines().any(|l| l.starts_with(&line)) {
                bail!("{name}: not said: {line}\n{said}");
            }
        }
    }
    Ok(())
}

/// What programs require is found in their text, and in that of the files beside them; nothing of it runs.
fn requirements(program: &Path) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let root = dir.path().canonicalize()?;
    let files = [
        (
            "tool.js",
            "#!/usr/bin/env node\nconst a = require('a'); require('./beside'); require('fs'); require(`${1}`); throw 1;",
        ),
        ("beside.mjs", "import 'c';"),
        ("beside.js", "if (0) require('b'); import('./beside.mjs'); require('missing');"),
        ("node_modules/a/index.js", "exports.a = 1;"),
        ("node_modules/b/package.json", r#"{"main": "lib/b.js"}"#),
        ("node_modules/b/lib/b.js", "exports.b = 1;"),
        ("node_modules/c/index.js", "exports.c = 1;"),
        ("node_modules/d/index.js", "exports.d = 1;"),
    ];
    for (name, text) in files {
        let file = root.join(name);
        std::fs::create_dir_all(file.parent().context("a file has a directory")?)?;
        std::fs::write(file, text)?;
    }
    let out = Command::new(program).args(["-e", "0"]).env("MEGALITH_SCRIPTS", root.join("tool.js")).output()?;
    let said = String::from_utf8_lossy(&out.stderr);
    let mut found: Vec<_> = said.lines().collect();
    found.sort_unstable();
    let wanted = ["a/index.js", "b/lib/b.js", "c/index.js"];
    let wanted = wanted.map(|name| format!("megalith: warmed: {}/node_modules/{name}", root.display()));
    if found != wanted {
        bail!("not {wanted:?}: {said}");
    }
    Ok(())
}
