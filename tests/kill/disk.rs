//! A small disk of its own, in a mount namespace of its own, so that it can be full or take no writes.
//!
//! The namespace lives as long as the process that [`Disk`] holds; nothing is left on the machine, however a test ends.

use std::{
    fs,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

pub struct Disk {
    holder: Child,
    folder: PathBuf,
}

const SIZE: &str = "512m";
const FILLER: &str = "filler";

// === impl Disk ===

impl Disk {
    /// Mounts a disk on this folder, or says why not: it takes the right to mount.
    pub fn mount(folder: &Path) -> Result<Disk, String> {
        let script = format!(
            "mount -t tmpfs -o size={SIZE} tmpfs '{}' && echo mounted && exec cat >/dev/null",
            folder.display()
        );
        // It ends when its standard input does, and that is when we do.
        let mut holder = Command::new("unshare")
            .args(["-m", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("unshare: {error}"))?;
        let mut said = [0; 8];
        let mounted = holder.stdout.take().is_some_and(|mut stdout| stdout.read_exact(&mut said).is_ok());
        if mounted && &said == b"mounted\n" {
            return Ok(Disk { holder, folder: folder.to_owned() });
        }
        let mut why = String::new();
        if let Some(mut stderr) = holder.stderr.take() {
            stderr.read_to_string(&mut why).ok();
        }
        holder.wait().ok();
        Err(why.trim().to_owned())
    }

    /// What to put before a command that is to see the disk. It starts in the root folder.
    pub fn wrapper(&self) -> Vec<String> {
        ["nsenter", "-t", &self.holder.id().to_string(), "-m"].map(str::to_owned).to_vec()
    }

    /// Copies what is on it, because SQLite follows `/proc/…/root` to our own root.
    pub fn copy_to(&self, folder: &Path) {
        fs::create_dir(folder).expect("a new folder");
        for file in fs::read_dir(self.root()).expect("a folder") {
            let file = file.expect("an entry");
            fs::copy(file.path(), folder.join(file.file_name())).expect("copied");
        }
    }

    /// The disk as we see it.
    fn root(&self) -> PathBuf {
        Path::new("/proc").join(self.holder.id().to_string()).join("root").join(self.folder.strip_prefix("/").unwrap())
    }

    /// Where the program sees it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn fill(&self) {
        let mut file = fs::File::create(self.root().join(FILLER)).expect("room for a name");
        let block = vec![0; 64 * 1024];
        while file.write_all(&block).is_ok() {}
        while file.write_all(&[0]).is_ok() {}
    }

    pub fn make_room(&self) {
        fs::remove_file(self.root().join(FILLER)).expect("the filler is there");
    }

    pub fn read_only(&self, yes: bool) {
        let options = if yes { "remount,ro" } else { "remount,rw" };
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.holder.id().to_string(), "-m", "mount", "-o", options]).arg(&self.folder);
        assert!(command.status().expect("nsenter runs").success(), "mount -o {options}");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        self.holder.wait().ok();
    }
}
