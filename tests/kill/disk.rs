//! A small disk of its own, in a mount namespace of its own, so that it can be full, take no writes, or fail.
//!
//! It is ext4 in a file, whose driver can be told that it met an error: the file system is then read-only at once, for files that are
//! open too, and what was not synced is lost. Where no such device can be had it is memory, which cannot fail. The namespace lives as long as the process that [`Disk`] holds; nothing is left on the machine, however a test ends.

use std::{
    fs,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

pub struct Disk {
    holder: Child,
    folder: PathBuf,
    /// What the file system is in; `None` for memory.
    image: Option<PathBuf>,
}

const SIZE: &str = "512m";
const MOUNT_IMAGE: &str = "mount -o loop,errors=remount-ro";
const FILLER: &str = "filler";

// === impl Disk ===

impl Disk {
    /// Mounts a disk on this folder, or says why not: it takes the right to mount.
    pub fn mount(folder: &Path) -> Result<Disk, String> {
        let image = folder.with_extension("image");
        let (file, place) = (image.display(), folder.display());
        let script =
            format!("truncate -s {SIZE} '{file}' && mkfs.ext4 -q -F -m 0 '{file}' && {MOUNT_IMAGE} '{file}' '{place}'");
        match hold(&script) {
            Ok(holder) => Ok(Disk { holder, folder: folder.to_owned(), image: Some(image) }),
            Err(_) => {
                fs::remove_file(&image).ok();
                let holder = hold(&format!("mount -t tmpfs -o size={SIZE} tmpfs '{place}'"))?;
                Ok(Disk { holder, folder: folder.to_owned(), image: None })
            }
        }
    }

    pub fn can_fail(&self) -> bool {
        self.image.is_some()
    }

    /// The driver meets an error: no write from now on, whoever has a file open.
    pub fn fail(&self) {
        let place = self.folder.display();
        self.inside(&format!(
            "echo failing > /sys/fs/ext4/$(basename $(findmnt -n -o SOURCE '{place}'))/trigger_fs_error"
        ));
    }

    /// What an operator does when nothing has it open any more. What the checker says is for people.
    pub fn mend(&self) {
        let (image, place) = (self.image.as_ref().expect("a disk that can fail").display(), self.folder.display());
        // 1: errors were corrected.
        self.inside(&format!("umount '{place}' && {{ e2fsck -fy '{image}' >/dev/null 2>&1 || [ $? = 1 ]; }} && {MOUNT_IMAGE} '{image}' '{place}'"));
    }

    fn inside(&self, script: &str) {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.holder.id().to_string(), "-m", "sh", "-c", script]);
        assert!(command.status().expect("nsenter runs").success(), "{script}");
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
            // Its own, for what a check finds.
            if file.file_name() == "lost+found" {
                continue;
            }
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
        self.inside(&format!("mount -o {options} '{}'", self.folder.display()));
    }
}

/// A process that holds a mount namespace in which this has been done. It ends when its standard input does, and that is when we do.
fn hold(script: &str) -> Result<Child, String> {
    let mut holder = Command::new("unshare")
        .args(["-m", "sh", "-c", &format!("{{ {script}; }} && echo mounted && exec cat >/dev/null")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("unshare: {error}"))?;
    let mut said = [0; 8];
    let mounted = holder.stdout.take().is_some_and(|mut stdout| stdout.read_exact(&mut said).is_ok());
    if mounted && &said == b"mounted\n" {
        return Ok(holder);
    }
    let mut why = String::new();
    if let Some(mut stderr) = holder.stderr.take() {
        stderr.read_to_string(&mut why).ok();
    }
    holder.wait().ok();
    Err(why.trim().to_owned())
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        self.holder.wait().ok();
        if let Some(image) = &self.image {
            fs::remove_file(image).ok();
        }
    }
}
