//! The layering test: how the source files may depend on each other. As cheap as a lint; it reads text and builds nothing.
//!
//! Guarantees, for `src/`: no circle of files; no module imports one of its own or a higher layer; each type name exists
//! once; a module with children is `name/mod.rs` (also under `tests/it`); only one module knows each outside library;
//! serde stays at the border.
//!
//! Leaves out: what `source.rs` and `graph.rs` leave out. The lists below are the rules: change them in the same commit
//! as the code that needs it, and give the reason.
//!
//! On another checkout: `CERTISCOPE_SOURCE_ROOT=/path/to/checkout cargo test --features demo --test it layers`.

mod graph;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use graph::{Import, Tree, listed};

/// Top-level modules, lowest layer first. A module may import modules of earlier layers in this list, and none of its
/// own layer.
const LAYERS: &[(&[&str], &str)] = &[
    (
        &["hex", "machine", "percentiles", "plot", "state_folder", "sync", "tensors"],
        "helpers that import no other module of this crate",
    ),
    (&["pulse", "stop"], "how threads are watched and stopped"),
    (&["capture", "near_duplicates"], "where pictures come from; which show the same part"),
    (&["preprocess", "heat_map"], "a picture becomes an input; scores are drawn over a picture"),
    (&["picture_range"], "whether a frame is like the pictures of the calibration"),
    (&["diffusion"], "an input becomes noisy draws and their reconstructions"),
    (&["score"], "a reconstruction becomes a score"),
    (&["smoothing", "computation"], "scores become a certificate; what computed them"),
    (&["verdict"], "a certificate becomes a verdict"),
    (&["bundle"], "a model with all that belongs to it"),
    (&["detector"], "bundle, model and score as one"),
    (&["certify"], "makes draws until a side is certified"),
    (&["inspection"], "the record of one inspected part"),
    (&["inspector"], "a frame becomes an inspection"),
    (&["inference", "evidence"], "the thread that owns the model; the pictures kept of a part"),
    (&["calibration", "evaluation"], "statistics of many parts"),
    (&["store"], "the inspection log; knows no network"),
    (&["retention"], "what is deleted of log and evidence"),
    (&["status", "verification"], "the state of a station, as one value; a stored verdict computed again"),
    (&["publish"], "MQTT; only reads status and store"),
    (&["metrics"], "HTTP; only reads status and store"),
    (&["config"], "the settings of every module, read from one file"),
    (&["agent"], "the threads of a station; knows every module but the command line"),
    (&["cli"], "the commands"),
    (&["fuzz"], "what the fuzz targets do; knows every module"),
    (&["testing"], "what the integration tests use of the crate"),
];

/// Modules that compute and do nothing else: what they give depends on what they are given.
const PURE: &[&str] = &[
    "certify",
    "diffusion/noise",
    "diffusion/reconstruct",
    "diffusion/schedule",
    "score",
    "smoothing",
    "verdict",
];

/// Paths that no pure module names: files, network, clocks, threads, generators that nobody seeded, the journal.
const IMPURE: &[&str] = &[
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "getrandom",
    "jiff",
    "rand::random",
    "rand::rng",
    "tokio",
    "tracing",
];

/// Outside libraries, each with the only modules that may name it.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("ort", &["diffusion/onnx"]),
    ("rumqttc", &["publish"]),
    ("rumqttd", &["cli/demo"]),
    ("rusqlite", &["store"]),
    ("nokhwa", &["capture/camera"]),
    ("v4l", &["capture/camera"]),
    ("turbojpeg", &["capture/decode"]),
    ("weezl", &["capture/decode"]),
];

/// Where serde may be derived: types of files and messages that other programs read or write. All other types may
/// change freely.
const SERDE: &[(&str, &str)] = &[
    ("bundle/manifest", "bundle.toml"),
    ("cli", "reports and notes that commands write as JSON or TOML"),
    ("config", "the configuration file"),
    ("publish/wire", "MQTT messages"),
];

/// Types elsewhere that may derive `Deserialize`, never `Serialize`.
const ONLY_READ: &[(&str, &str)] = &[
    ("OnUnavailable", "the words of `model.on_unavailable`"),
    ("Protocol", "the words of `broker.protocol`"),
    ("Provider", "the words of `model.provider`"),
    ("VisaRow", "a line of the list that VisA is downloaded with"),
];

fn root() -> PathBuf {
    std::env::var_os("CERTISCOPE_SOURCE_ROOT")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

fn sources() -> Tree {
    Tree::read(&root().join("src"))
}

/// Fails with everything that was found and what to do about it.
#[track_caller]
fn assert_none(found: &[String], advice: &str) {
    assert!(found.is_empty(), "{} found:\n{}\n{advice}\n", found.len(), found.join("\n"));
}

#[test]
fn no_files_import_each_other() {
    assert_none(
        &circles(&sources()),
        "Each block above is a circle of imports. Move what both sides need into a separate file that imports neither \
         of them. A `mod.rs` counts as a file: its children must not use what it defines.",
    );
}

#[test]
fn no_module_imports_a_higher_one() {
    assert_none(
        &upward(&sources(), LAYERS),
        "A module may import modules of lower layers only. Move the thing down to the module that it belongs to, or hand \
         it in as a value or function. The order is LAYERS in tests/it/layers/mod.rs: add a new module there, with a \
         reason, as low as its imports allow.",
    );
}

#[test]
fn a_type_name_exists_once() {
    assert_none(
        &doubled(&sources()),
        "A reader who searches for a type must find one. Give each a name that says what it is where it is used, such as \
         `BrokerFault` and `StationFault` for two `Fault`s.",
    );
}

#[test]
fn a_module_with_children_is_mod_rs() {
    let tests = Tree::read(&root().join("tests/it"));
    let named = |folder: &str, tree: &Tree| -> Vec<String> {
        let beside = tree.beside_their_folder().into_iter();
        beside
            .map(|path| {
                let module = path.trim_end_matches(".rs");
                format!("    {folder}/{path} lies beside the folder {module}/: git mv it to {folder}/{module}/mod.rs")
            })
            .collect()
    };
    let found = [named("src", &sources()), named("tests/it", &tests)].concat();
    assert_none(
        &found,
        "One style of module file: `name/mod.rs` where a module has children, `name.rs` where not.",
    );
}

#[test]
fn outside_libraries_are_known_to_one_module_each() {
    assert_none(
        &strangers(&sources(), LIBRARIES),
        "Only the module named in LIBRARIES (tests/it/layers/mod.rs) knows that library, so that it can be replaced and \
         its faults are handled in one place. Ask that module for what is needed.",
    );
}

#[test]
fn pure_modules_stay_pure() {
    assert_none(
        &impure(&sources(), PURE, IMPURE),
        "These modules must give the same for the same: a stored verdict is computed again from its seed. Hand in the time, \
         the seed or the content as a value, and let the caller log.",
    );
}

#[test]
fn only_the_border_is_serialised() {
    assert_none(
        &serialised(&sources(), SERDE, ONLY_READ),
        "Only types at the border are serialised; otherwise a rename inside changes a file or a message that others read. \
         Make a type for the file or message at the border, with a conversion. If this file is itself the border, add it to SERDE \
         in tests/it/layers/mod.rs, with a reason; a type that only takes words of the configuration, to ONLY_READ.",
    );
}

#[test]
fn the_lists_name_nothing_that_is_gone() {
    assert_none(
        &gone(&sources(), LAYERS, LIBRARIES, SERDE, ONLY_READ),
        "A list in tests/it/layers/mod.rs names something that does not exist any more. Remove it from the list, so that \
         nothing new is allowed by an old name.",
    );
}

fn circles(tree: &Tree) -> Vec<String> {
    let mut found: Vec<String> = Tree::circles(&tree.imports()).iter().map(listed).collect();
    for (path, source) in &tree.files {
        let lines = source.path_attributes.iter();
        found.extend(
            lines.map(|line| format!("    src/{path}:{line} has `#[path]`: this test cannot follow that")),
        );
    }
    found
}

/// The top-level module of a file; `None` for `lib.rs` and `main.rs`, which only list and start.
fn top(path: &str) -> Option<&str> {
    let name = path.split('/').next().expect("split gives one").trim_end_matches(".rs");
    (!["lib", "main"].contains(&name)).then_some(name)
}

fn upward(tree: &Tree, layers: &[(&[&str], &str)]) -> Vec<String> {
    let layer_of = |module: &str| layers.iter().position(|(modules, _)| modules.contains(&module));
    let modules: BTreeSet<&str> = tree.shipped().filter_map(|(path, _)| top(path)).collect();
    let unknown = modules.iter().filter(|module| layer_of(module).is_none());
    let mut found: Vec<String> = unknown
        .map(|module| format!("    src/{module} has no layer: add it to LAYERS in tests/it/layers/mod.rs"))
        .collect();
    for import in tree.imports() {
        let (Some(from), Some(to)) = (top(&import.from), top(&import.to)) else { continue };
        let (Some(low), Some(high)) = (layer_of(from), layer_of(to)) else { continue };
        if from != to && high >= low {
            let Import { from: file, line, path, .. } = &import;
            found.push(format!(
                "    src/{file}:{line} names {path}: `{from}` is in layer {low} of {last}, `{to}` in layer {high}",
                last = layers.len() - 1
            ));
        }
    }
    found
}

fn doubled(tree: &Tree) -> Vec<String> {
    let mut places: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (path, source) in tree.shipped() {
        for (name, line) in &source.types {
            places.entry(name).or_default().push(format!("src/{path}:{line}"));
        }
    }
    places.retain(|_, places| places.len() > 1);
    places.iter().map(|(name, places)| format!("    {name}: {}", places.join(", "))).collect()
}

/// Whether the file is one of these, or in one of these modules. `a/b` is `a/b.rs` or the folder `a/b/`.
fn allowed<'a>(path: &str, mut places: impl Iterator<Item = &'a str>) -> bool {
    places.any(|place| {
        let rest = path.strip_prefix(place);
        rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    })
}

fn strangers(tree: &Tree, libraries: &[(&str, &[&str])]) -> Vec<String> {
    let mut found = Vec::new();
    for path in tree.files.keys() {
        for (name, line) in tree.foreign(path) {
            let known = libraries.iter().find(|(library, _)| *library == name);
            if let Some((_, places)) = known.filter(|(_, places)| !allowed(path, places.iter().copied())) {
                found.push(format!(
                    "    src/{path}:{line} names {name}; only src/{} may",
                    places.join(", src/")
                ));
            }
        }
    }
    found
}

fn impure(tree: &Tree, pure: &[&str], impure: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, source) in tree.shipped().filter(|(path, _)| allowed(path, pure.iter().copied())) {
        for named in source.uses.iter().map(|leaf| &leaf.named).chain(&source.paths) {
            let full = named.path.join("::");
            let starts = |forbidden: &&&str| {
                full.strip_prefix(**forbidden).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
            };
            if impure.iter().any(|forbidden| starts(&forbidden)) {
                found.push(format!("    src/{path}:{} names {full}", named.line));
            }
        }
    }
    found
}

fn serialised(tree: &Tree, border: &[(&str, &str)], only_read: &[(&str, &str)]) -> Vec<String> {
    let outside = tree.shipped().filter(|(path, _)| !allowed(path, border.iter().map(|(place, _)| *place)));
    let derives = outside.flat_map(|(path, source)| source.serde.iter().map(move |derive| (path, derive)));
    let read = |name: &str| only_read.iter().any(|(allowed, _)| *allowed == name);
    derives
        .filter(|(_, derive)| derive.written || !read(&derive.name))
        .map(|(path, derive)| {
            let which = if derive.written { "Serialize" } else { "Deserialize" };
            format!("    src/{path}:{}: {} derives {which}", derive.line, derive.name)
        })
        .collect()
}

type Reasons<'a> = &'a [(&'a str, &'a str)];

fn gone(
    tree: &Tree,
    layers: &[(&[&str], &str)],
    libraries: &[(&str, &[&str])],
    border: Reasons<'_>,
    only_read: Reasons<'_>,
) -> Vec<String> {
    let modules: BTreeSet<&str> = tree.shipped().filter_map(|(path, _)| top(path)).collect();
    let derives: Vec<(&str, &str)> = tree
        .shipped()
        .flat_map(|(path, source)| source.serde.iter().map(move |derive| (path, derive.name.as_str())))
        .collect();
    let named = |library: &str, place: &str| {
        let mut files = tree.files.keys().filter(|path| allowed(path, [place].into_iter()));
        files.any(|path| tree.foreign(path).any(|(name, _)| name == library))
    };
    let listed = layers.iter().flat_map(|(modules, _)| modules.iter());
    let mut found: Vec<String> = listed
        .filter(|module| !modules.contains(*module))
        .map(|module| format!("    LAYERS: {module}"))
        .collect();
    for (library, places) in libraries {
        let unused = places.iter().filter(|place| !named(library, place));
        found.extend(unused.map(|place| format!("    LIBRARIES: {library} in src/{place}")));
    }
    let places = border
        .iter()
        .filter(|(place, _)| !derives.iter().any(|(path, _)| allowed(path, [*place].into_iter())));
    found.extend(places.map(|(place, _)| format!("    SERDE: src/{place}")));
    let types = only_read.iter().filter(|(name, _)| !derives.iter().any(|(_, derived)| derived == name));
    found.extend(types.map(|(name, _)| format!("    ONLY_READ: {name}")));
    found
}

/// Tests of the rules on made-up source folders: each rule finds what it forbids, and only that.
mod rules {
    use super::*;

    #[test]
    fn a_clock_in_a_pure_module_is_found_and_a_duration_is_not() {
        let tree = Tree::of([
            ("lib.rs", "mod score; mod agent;"),
            ("score.rs", "use std::time::{Duration, Instant};\nfn f() { tracing::info!(\"x\"); }"),
            ("agent.rs", "use std::time::Instant;"),
        ]);
        let found = impure(&tree, &["score"], IMPURE);
        assert_eq!(
            found,
            ["    src/score.rs:1 names std::time::Instant", "    src/score.rs:2 names tracing::info"]
        );
    }

    const TWO_LAYERS: &[(&[&str], &str)] = &[(&["store", "pulse"], "low"), (&["publish"], "high")];

    #[test]
    fn a_circle_of_files_is_found() {
        let tree = Tree::of([
            ("lib.rs", "mod publish;"),
            ("publish/mod.rs", "mod pump; mod session; mod wire; pub use pump::Pump;"),
            ("publish/pump.rs", "use super::session::{self, Session};\nuse super::wire; pub struct Pump;"),
            (
                "publish/session.rs",
                "pub struct Session; fn f() { crate::publish::wire::json(); wire::other() }",
            ),
            ("publish/wire.rs", "pub fn json() {} /* super::pump */ const P: &str = \"super::pump::P\";"),
        ]);
        assert_eq!(circles(&tree), [] as [String; 0]);

        let session = "use super::{Pump, wire}; pub struct Session;";
        let tree = Tree::of([
            ("publish/mod.rs", "mod pump; mod session; mod wire; pub use pump::Pump;"),
            ("publish/pump.rs", "use super::wire;\nuse super::session::Session; pub struct Pump;"),
            ("publish/session.rs", session),
            ("publish/wire.rs", ""),
        ]);
        let found = circles(&tree);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0]
                .contains("src/publish/pump.rs:2 names super::session::Session (in src/publish/session.rs)")
        );
        assert!(found[0].contains("src/publish/session.rs:1 names super::Pump (in src/publish/pump.rs)"));
    }

    #[test]
    fn a_parent_and_its_child_are_a_circle_too() {
        let parent = "mod answers;\npub struct Session;\nfn f() { answers::take() }";
        let child = "use super::Session;\npub fn take() {}";
        let found = circles(&Tree::of([("session/mod.rs", parent), ("session/answers.rs", child)]));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("src/session/mod.rs:3 names answers::take"), "{found:?}");
        let glob = "mod answers; pub use answers::*; pub struct Session;";
        assert_eq!(circles(&Tree::of([("session/mod.rs", glob), ("session/answers.rs", child)])).len(), 1);
    }

    #[test]
    fn files_of_unit_tests_may_import_what_they_like() {
        let tree = Tree::of([
            ("config/mod.rs", "#[cfg(test)]\nmod tests;\nmod source;"),
            ("config/tests.rs", "use super::source; use crate::publish::P;"),
            ("config/source.rs", "#[cfg(test)] mod tests { use crate::config::tests::helper; }"),
            ("publish.rs", "pub struct P;"),
        ]);
        assert_eq!(tree.imports(), []);
        assert_eq!(tree.shipped().count(), 3);
    }

    #[test]
    fn an_upward_import_is_found_and_a_downward_one_is_none() {
        let tree = |store| {
            Tree::of([
                ("store/mod.rs", store),
                (
                    "publish.rs",
                    "use crate::store::Store; pub mod wire { pub fn f() { super::super::store::g() } }",
                ),
                ("pulse.rs", ""),
            ])
        };
        assert_eq!(upward(&tree("pub struct Store;"), TWO_LAYERS), [] as [String; 0]);
        for upwards in ["\nuse crate::{\n  publish::{wire},\n};", "fn f() {\n\n  crate::publish::wire::f() }"]
        {
            let found = upward(&tree(upwards), TWO_LAYERS);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].contains("src/store/mod.rs:3 names crate::publish::wire"), "{found:?}");
        }
        assert_eq!(upward(&tree("use crate::pulse::Pulse;"), TWO_LAYERS).len(), 1, "of the same layer");
        let found = upward(&Tree::of([("alarm/mod.rs", "")]), TWO_LAYERS);
        assert!(found[0].contains("src/alarm has no layer"), "{found:?}");
    }

    #[test]
    fn a_type_name_that_exists_twice_is_found() {
        let tree = Tree::of([
            ("a.rs", "pub struct Report; #[cfg(test)] mod tests { struct Other; }"),
            ("b.rs", "struct Other;\nimpl Iterator for Other { type Item = u8; }\nenum Report {}"),
            ("c.rs", "impl Iterator for C { type Item = u8; }"),
        ]);
        assert_eq!(doubled(&tree), ["    Report: src/a.rs:1, src/b.rs:3"]);
    }

    #[test]
    fn a_module_beside_its_folder_is_found() {
        let tree = Tree::of([("a/mod.rs", ""), ("a/x.rs", ""), ("b.rs", ""), ("b/y.rs", ""), ("bc.rs", "")]);
        assert_eq!(tree.beside_their_folder(), ["b.rs"]);
    }

    #[test]
    fn a_library_in_the_wrong_place_is_found() {
        let tree = Tree::of([
            ("store/log.rs", "use rusqlite::Connection;"),
            ("storehouse.rs", "// rusqlite::Connection\nfn f() -> rusqlite::Result<()> {}"),
            ("detector.rs", "use ::ort::session; mod ort_like {}"),
        ]);
        let expected = [
            "    src/detector.rs:1 names ort; only src/diffusion/onnx may",
            "    src/storehouse.rs:2 names rusqlite; only src/store may",
        ];
        assert_eq!(strangers(&tree, LIBRARIES), expected);
    }

    #[test]
    fn serde_outside_the_border_is_found() {
        let tree = Tree::of([
            ("config/mod.rs", "#[derive(serde::Deserialize)] struct A;"),
            (
                "verdict.rs",
                "#[derive(Debug)]\nstruct B;\n#[derive(Debug, Serialize)]\n#[serde(x)]\nstruct C;",
            ),
            (
                "words.rs",
                "#[derive(Deserialize)] enum Provider {}\n#[derive(Deserialize, Serialize)] enum Protocol {}",
            ),
            ("score.rs", "#[cfg(test)] mod tests { #[derive(Deserialize)] struct D; }"),
        ]);
        let expected =
            ["    src/verdict.rs:3: C derives Serialize", "    src/words.rs:2: Protocol derives Serialize"];
        assert_eq!(serialised(&tree, SERDE, ONLY_READ), expected);
    }

    #[test]
    fn a_list_that_names_what_is_gone_is_found() {
        let tree = Tree::of([
            ("store.rs", "use rusqlite::Connection; #[derive(Serialize)] struct A;"),
            ("pulse.rs", "#[derive(Deserialize)] enum Format {}"),
        ]);
        let libraries: &[(&str, &[&str])] = &[("rusqlite", &["store"]), ("ort", &["pulse"])];
        let border = [("store", ""), ("config", "")];
        let found = gone(&tree, TWO_LAYERS, libraries, &border, &[("Format", ""), ("Protocol", "")]);
        let expected =
            ["LAYERS: publish", "LIBRARIES: ort in src/pulse", "SERDE: src/config", "ONLY_READ: Protocol"];
        assert_eq!(found, expected.map(|line| format!("    {line}")));
    }
}
