//! A PostgreSQL server of a test's own: in a temporary directory, reached through a Unix socket, gone with the test.

use std::ffi::OsString;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How often it is looked whether the server is there, 20 ms apart.
const LOOKS_MAX: u32 = 3000;

const USER: &str = "everfresh";

/// When the pipe that it reads from breaks, however the test ends: ends the server that runs in the directory and removes it.
const REAPER: &str = r#"
read -r _
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
if [ -n "$pid" ] && [ "$(readlink "/proc/$pid/cwd")" = "$1/data" ]; then
    kill -QUIT "$pid"
    while [ -e "/proc/$pid/stat" ] && [ "$(cut -d' ' -f3 "/proc/$pid/stat")" != Z ]; do sleep 0.02; done
fi
rm -rf "$1"
"#;

/// A running server.
pub(crate) struct PostgresServer {
    directory: PathBuf,
    settings: Vec<String>,
    /// What its programs are run by, such as `ip netns exec …`.
    runner: Vec<String>,
    postmaster: Option<Child>,
    databases: AtomicU32,
    reaper: Option<(Child, ChildStdin)>,
}

impl PostgresServer {
    /// One that forgets what it was told when the machine fails, for what is not about that.
    pub(crate) fn start() -> Self {
        Self::start_with(&["fsync=off", "full_page_writes=off"])
    }

    /// One with these settings besides.
    pub(crate) fn start_with(settings: &[&str]) -> Self {
        Self::start_by(&[], settings)
    }

    /// The same where `runner` runs it, a command that takes another one as its last arguments.
    pub(crate) fn start_by(runner: &[String], settings: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix("everfresh-pg").tempdir().unwrap().keep();
        let mut reaper = Command::new("sh")
            .args(["-c", REAPER, "reaper"])
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pipe = reaper.stdin.take().unwrap();
        if let Some((_, uid, gid)) = other_user() {
            chown(&directory, Some(uid), Some(gid)).unwrap();
        }
        let mut server = Self {
            directory,
            settings: settings.iter().map(|&setting| setting.to_owned()).collect(),
            runner: runner.to_vec(),
            postmaster: None,
            databases: AtomicU32::new(0),
            reaper: Some((reaper, pipe)),
        };
        let data = server.data();
        let made = server
            .command("initdb")
            .args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "--username", USER])
            .arg("--pgdata")
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {}", text(&made));
        // Who reaches it is decided by where it listens.
        let hba = "local all all trust\nhost all all all trust\n";
        std::fs::write(server.data().join("pg_hba.conf"), hba).unwrap();
        server.run();
        server
    }

    /// A new database, as the URL that leads to it.
    pub(crate) fn database(&self) -> String {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let made = self
            .command("createdb")
            .arg("--host")
            .arg(&self.directory)
            .args(["--username", USER, "--template=template0", &name])
            .output()
            .unwrap();
        assert!(made.status.success(), "createdb: {}", text(&made));
        self.url(&name)
    }

    /// The URL of a database.
    pub(crate) fn url(&self, name: &str) -> String {
        format!("postgres://{USER}@localhost/{name}?host={}&sslmode=disable", self.directory.display())
    }

    /// Kills it, as a failing machine would.
    pub(crate) fn kill(&mut self) {
        let mut postmaster = self.postmaster.take().unwrap();
        postmaster.kill().unwrap();
        postmaster.wait().unwrap();
    }

    /// Starts it, and waits until it takes connections.
    pub(crate) fn run(&mut self) {
        let mut looks = 0;
        loop {
            let log = self.directory.join("log");
            let mut command = self.command("postgres");
            command
                .arg("-D")
                .arg(self.data())
                .arg("-k")
                .arg(&self.directory)
                .args(["-c", "listen_addresses="]);
            for setting in &self.settings {
                command.args(["-c", setting]);
            }
            let file = std::fs::File::create(&log).unwrap();
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
            let mut postmaster = command.spawn().unwrap();
            loop {
                let asked =
                    self.command("pg_isready").arg("--quiet").arg("--host").arg(&self.directory).status();
                if asked.unwrap().success() {
                    self.postmaster = Some(postmaster);
                    return;
                }
                looks += 1;
                assert!(looks < LOOKS_MAX, "no server: {}", std::fs::read_to_string(&log).unwrap());
                if postmaster.try_wait().unwrap().is_some() {
                    // Processes of one that was killed may still hold its memory.
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// One of PostgreSQL's programs, under a user that it accepts.
    fn command(&self, program: &str) -> Command {
        let mut words: Vec<OsString> = self.runner.iter().map(OsString::from).collect();
        if let Some((_, uid, gid)) = other_user() {
            let (uid, gid) = (format!("--reuid={uid}"), format!("--regid={gid}"));
            words.extend(["setpriv", &uid, &gid, "--clear-groups"].map(OsString::from));
        }
        words.push(find(program).into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command.current_dir(&self.directory).env_remove("PGHOST").env_remove("PGPORT");
        command
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if let Some((mut reaper, pipe)) = self.reaper.take() {
            drop(pipe);
            if let Some(mut postmaster) = self.postmaster.take() {
                let _ = postmaster.wait();
            }
            let _ = reaper.wait();
        }
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// PostgreSQL refuses to run as root. Then: its own user, or nobody.
fn other_user() -> Option<(&'static str, u32, u32)> {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    ["postgres", "nobody"].into_iter().find_map(|name| {
        let mut fields = users.lines().find(|line| line.split(':').next() == Some(name))?.split(':').skip(2);
        Some((name, fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    })
}

/// Debian keeps the server's programs off the PATH.
fn find(program: &str) -> PathBuf {
    let on_path = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect::<Vec<_>>();
    let asked = Command::new("pg_config").arg("--bindir").output().ok();
    let asked = asked.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))
        })
        .collect();
    versions.sort();
    let known = versions.into_iter().rev().map(|(_, path)| path);
    known
        .chain(asked)
        .chain(on_path)
        .map(|directory: PathBuf| directory.join(OsString::from(program)))
        .find(|path: &PathBuf| Path::is_file(path))
        .unwrap_or_else(|| panic!("{program} is missing: apt-get install postgresql"))
}
