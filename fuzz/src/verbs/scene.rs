//! One file of every kind, and the commands that read it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A file that is changed, and the command that reads it. Paths are relative to the folder of the scene.
pub struct Task {
    /// The file.
    pub file: String,
    /// The command.
    pub arguments: Vec<String>,
}

impl Task {
    /// The name of the file, without its folder.
    pub fn name(&self) -> &str {
        self.file.rsplit('/').next().unwrap_or(&self.file)
    }
}

/// A folder with the files of all tasks.
pub struct Scene {
    folder: TempDir,
    /// Every pair of a file and a command that reads it.
    pub tasks: Vec<Task>,
}

/// Files, and the commands that read each: `OUT` is a folder of results, which is empty.
/// Trainings have one epoch, whatever a changed file says: a long one breaks no promise.
const TASKS: [(&str, &[&str]); 14] = [
    ("ph/imagesTs", &["info FILE", "check ph", "predict run FILE --out OUT", "predict run ph/imagesTs --out OUT"]),
    (
        "ph/labelsTs",
        &[
            "info FILE",
            "check ph",
            "evaluate --probabilities ph/posteriorsTs --labels ph/labelsTs --out OUT",
            "calibrate fit platt --probabilities ph/posteriorsTs --labels ph/labelsTs --out map",
        ],
    ),
    (
        "ph/posteriorsTs",
        &[
            "info FILE",
            "evaluate --probabilities ph/posteriorsTs --labels ph/labelsTs --out OUT",
            "calibrate apply maps/vector.json --probabilities ph/posteriorsTs --out OUT",
            "calibrate fit isotonic --probabilities ph/posteriorsTs --labels ph/labelsTs --out map",
        ],
    ),
    ("ph/imagesTr", &["check ph", "prepare ph OUT --as msd --split 2,1,0"]),
    ("ph/dataset.json", &["check ph", "prepare ph OUT --as msd --split 2,1,0", "train tiny.toml out=OUT epochs=1"]),
    ("ph/splits.json", &["check ph", "train tiny.toml out=OUT epochs=1"]),
    ("maps", &["calibrate apply FILE --probabilities ph/posteriorsTs --labels ph/labelsTs --out OUT"]),
    ("evaluation/states", &["merge evaluation --out OUT"]),
    ("evaluation/summary.json", &["merge evaluation --out OUT"]),
    ("evaluation/cases.csv", &["rank FILE other/cases.csv --metrics dsc,ece", "rank evaluation --metrics dsc"]),
    ("run/config.toml", &["predict run ph/imagesTs --out OUT"]),
    ("run/best.safetensors", &["predict run ph/imagesTs --out OUT", "export run --out OUT"]),
    ("files", &["info FILE", "evaluate --segmentations FILE --labels FILE --out OUT"]),
    ("tiny.toml", &["train FILE out=OUT epochs=1", "train FILE out=OUT epochs=1 samples.kind=patches"]),
];

impl Scene {
    /// Makes the files with the program itself.
    ///
    /// # Errors
    /// The program fails, or the disk cannot be written.
    pub fn make(program: &Path) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut scene = Self { folder, tasks: Vec::new() };
        let run = |words: &str| scene.run(program, words);
        run("phantom ph --train 2 --val 1 --test 2 --size 4,8,8")?;
        fs::write(scene.path("tiny.toml"), TINY)?;
        run("train tiny.toml out=run")?;
        let given = "--probabilities ph/posteriorsTs --labels ph/labelsTs";
        fs::create_dir(scene.path("maps"))?;
        for method in ["temperature", "class-temperature", "vector", "platt", "isotonic"] {
            run(&format!("calibrate fit {method} {given} --out maps/{method}.json"))?;
        }
        run(&format!("evaluate {given} --out evaluation"))?;
        fs::create_dir(scene.path("other"))?;
        fs::copy(scene.path("evaluation/cases.csv"), scene.path("other/cases.csv"))?;
        fs::create_dir(scene.path("files"))?;
        scene.files()?;
        for (place, commands) in TASKS {
            for file in scene.below(place)? {
                for command in commands {
                    let words = command.split(' ').map(|word| match word {
                        "FILE" => file.clone(),
                        word => word.replace("OUT", "out"),
                    });
                    scene.tasks.push(Task { file: file.clone(), arguments: words.collect() });
                }
            }
        }
        scene.copy_originals()?;
        Ok(scene)
    }

    /// Files of other kinds than the phantom's: label maps of 8 x 8 pixels.
    fn files(&self) -> io::Result<()> {
        let pixels: Vec<u8> = (0..64).map(|x| x % 3).collect();
        let mut encoder = png::Encoder::new(fs::File::create(self.path("files/a.png"))?, 8, 8);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_palette(vec![0, 0, 0, 255, 255, 255, 9, 9, 9]);
        encoder.write_header().and_then(|mut writer| writer.write_image_data(&pixels)).map_err(io::Error::other)?;
        let mut header =
            b"\x93NUMPY\x01\x00\x76\x00{'descr': '|u1', 'fortran_order': False, 'shape': (8, 8), }".to_vec();
        header.resize(127, b' ');
        header.push(b'\n');
        fs::write(self.path("files/a.npy"), [&header[..], &pixels].concat())
    }

    fn run(&self, program: &Path, words: &str) -> io::Result<()> {
        let mut command = Command::new(program);
        command.arg("-q").args(words.split(' ')).current_dir(self.folder()).stdout(Stdio::null());
        let status = command.status()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("segcal {words}: {status}"))) }
    }

    /// A file, or the files of a folder, by their paths in the scene.
    fn below(&self, place: &str) -> io::Result<Vec<String>> {
        if self.path(place).is_file() {
            return Ok(vec![place.to_owned()]);
        }
        let entries = fs::read_dir(self.path(place))?;
        let names = entries.map(|entry| Ok(format!("{place}/{}", entry?.file_name().to_string_lossy())));
        let mut names: Vec<String> = names.collect::<io::Result<_>>()?;
        names.sort();
        Ok(names)
    }

    fn copy_originals(&self) -> io::Result<()> {
        for task in &self.tasks {
            let to = self.original(task);
            fs::create_dir_all(to.parent().unwrap_or(&to))?;
            fs::copy(self.victim(task), to)?;
        }
        Ok(())
    }

    /// The folder in which commands run.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A path in the scene.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The file that a task changes.
    pub fn victim(&self, task: &Task) -> PathBuf {
        self.path(&task.file)
    }

    /// Where that file is kept as it was.
    pub fn original(&self, task: &Task) -> PathBuf {
        self.path("originals").join(&task.file)
    }

    /// Puts back what a task has changed, and removes what it wrote.
    ///
    /// # Errors
    /// The disk cannot be written.
    pub fn restore(&self, task: &Task) -> io::Result<()> {
        fs::copy(self.original(task), self.victim(task))?;
        for made in ["out", "map"].map(|name| self.path(name)) {
            if made.is_dir() {
                fs::remove_dir_all(made)?;
            } else if made.exists() {
                fs::remove_file(made)?;
            }
        }
        io::stdout().flush()
    }
}

const TINY: &str = "data = \"ph\"\nepochs = 1\nbatch = 4\n[samples]\nsize = [8, 8]\n[network]\nlevels = 2\nbase = 2\n\
                    [loss]\nname = \"crac\"\n[optimiser]\nname = \"adam\"\nlearning_rate = 1e-3\n";
