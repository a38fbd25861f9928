//! `make install`, into a directory: what is installed fits together.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

#[test]
fn what_make_install_puts_down_fits_together() {
    let dir = TempDir::new().unwrap();
    let (bin, root) = (dir.path().join("built"), dir.path().join("root"));
    fs::create_dir(&bin).unwrap();
    for (name, program) in [("ringswitchd", env!("CARGO_BIN_EXE_ringswitchd")), ("rsctl", env!("CARGO_BIN_EXE_rsctl"))]
    {
        fs::copy(program, bin.join(name)).unwrap();
    }
    fs::write(bin.join("rspktgen"), "").unwrap();
    let make = |prefix: &str| {
        let mut make = Command::new("make");
        make.args(["install", "CARGO=true", &format!("PREFIX={prefix}")]).current_dir(env!("CARGO_MANIFEST_DIR"));
        make.arg(format!("BIN={}", bin.display())).arg(format!("DESTDIR={}", root.display()));
        make.env_remove("MAKEFLAGS").output()
    };
    for prefix in ["/usr/local", "/opt/rs"] {
        let output = match make(prefix) {
            Ok(output) => output,
            Err(error) => return eprintln!("skipped: make: {error}"),
        };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_fits(&root, prefix);
    }
}

fn assert_fits(root: &Path, prefix: &str) {
    let installed = |path: &str| root.join(path.trim_start_matches('/'));
    let unit = fs::read_to_string(installed(&format!("{prefix}/lib/systemd/system/ringswitch.service"))).unwrap();
    for start in ["ExecStart=", "ExecReload="] {
        let line = unit.lines().find_map(|line| line.strip_prefix(start)).unwrap();
        let program = line.split(' ').next().unwrap();
        assert!(installed(program).is_file(), "the unit has {start}{program}, which is not installed");
    }
    // Debian 12 has systemd 252, which takes every type that it does not know for \"simple\".
    assert!(unit.contains("\nType=notify\n"), "{unit}");
    let share = |name: &str| fs::read_to_string(installed(&format!("{prefix}/share/{name}"))).unwrap();
    for (file, word) in [
        ("bash-completion/completions/rsctl", "complete -F _rsctl"),
        ("zsh/site-functions/_rsctl", "#compdef rsctl"),
        ("fish/vendor_completions.d/rsctl.fish", "complete -c rsctl"),
    ] {
        let script = share(file);
        assert!(script.contains(word) && script.contains("dump-flows"), "{file}");
    }
    let mut check = Command::new(installed(&format!("{prefix}/bin/ringswitchd")));
    let check = check.arg("--check-config").arg("--config").arg(installed("/etc/ringswitch/ringswitch.toml.example"));
    assert!(check.status().unwrap().success());
}
