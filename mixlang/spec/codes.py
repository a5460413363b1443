"""Every code a diagnostic can have: what it means, and a spec that shows it. docs/diagnostics.md is made from this."""

from __future__ import annotations

from dataclasses import dataclass

EXAMPLE_SPEC = """\
mixlang: 1
name: demo
domains:
  ct:  {modality: ct,  source: {phantom: {count: 400, shape: [192, 192, 192]}}}
  mri: {modality: mri, source: {phantom: {count: 200, shape: [192, 192, 192]}}}
volume: {spacing: [1, 1, 1], crop: [96, 96, 96]}
budgets: {probe: [16384, 24576, 32768, 49152], holdout: [65536], target: 100k}
"""
"""What the examples are edits of; it compiles without a warning."""


@dataclass(frozen=True)
class Code:
    """One kind of finding.

    Attributes:
        title: what is wrong, in a few words.
        text: why it matters and what to do.
        old, new: the edit of the example spec that shows it; both empty where no edit of one file can.
        warning: whether it is a warning (an error under --strict).
    """

    title: str
    text: str
    old: str = ""
    new: str = ""
    warning: bool = False


_BUDGETS = "budgets: {probe: [16384, 24576, 32768, 49152], holdout: [65536], target: 100k}"
_CT = "{modality: ct,  source: {phantom: {count: 400, shape: [192, 192, 192]}}}"

CODES: dict[str, Code] = {
    "MX0001": Code("the spec cannot be read", "The path is wrong, or the file is not readable."),
    "MX0002": Code(
        "too large", "Over 1 MB, nested over 40 deep, or expanding through aliases to over 100,000 values: not a spec."
    ),
    "MX0003": Code("not UTF-8 text", "Save the file as UTF-8; other encodings would change names in silence."),
    "MX0004": Code(
        "not valid YAML", "Brackets, quotes, tabs or indentation. Nothing after this place was read.", "96, 96]}", "96, 96}"
    ),
    "MX0005": Code(
        "a key twice", "YAML parsers keep the last of two equal keys in silence; here both are kept from meaning "
        "anything until one is gone.", "name: demo\n", "name: demo\nname: other\n",
    ),
    "MX0006": Code(
        "a merge key", "`<<` is not part of the language. What specs share goes into a file that they `extend`.",
        "volume: {", "volume: {<<: {},",
    ),
    "MX0007": Code("a key that is no word", "Keys are words, not lists or mappings.", "name: demo", "[name]: demo"),
    "MX0008": Code("a YAML tag", "Tags such as `!!python/...` or `!!int x` are refused.", "name: demo", "name: !x demo"),
    "MX0009": Code("an endless number", "A number of over 300 digits.", "100k}", f"{'9' * 301}}}"),
    "MX0011": Code(
        "nothing to extend", "`extends` names a file relative to the spec, in specs/bases/.",
        "name: demo", "name: demo\nextends: bases/site.yaml",
    ),
    "MX0012": Code("a spec that extends itself", "Directly or through others."),
    "MX0013": Code(
        "a base outside specs/bases/", "`dvc repro` watches that folder; a change elsewhere would go unnoticed."
    ),
    "MX0014": Code("an override that sets nothing", "Write `--set key.path=value`, such as `--set budgets.target=20k`."),
    "MX0100": Code("not a spec", "The file is empty, or is a list or a single value.", EXAMPLE_SPEC, "[]\n"),
    "MX0101": Code(
        "an unknown key", "Misspelt, or written in the wrong section: a key nobody reads would be a setting nobody "
        "applies.", "name: demo", "nmae: demo",
    ),
    "MX0102": Code("a key is missing", "It has no default that would not be a guess.", ", target: 100k", ""),
    "MX0103": Code("the wrong type", "Text for a number, a value for a section.", "count: 400", "count: '400'"),
    "MX0104": Code("not one of the words", "Only the words listed mean something here.", "modality: ct", "modality: ctt"),
    "MX0105": Code("a value that cannot be", "Well-formed, but without meaning at this place.", "100k", "100q"),
    "MX0106": Code("not a name", "Letters, digits, `_` and `-`, starting with a letter.", "name: demo", "name: a demo"),
    "MX0107": Code("out of range", "The number is beyond what can work.", "count: 400", "count: 1"),
    "MX0108": Code("too few or too many", "A list or table with the wrong number of entries.", _BUDGETS,
                   _BUDGETS.replace("[16384, 24576, 32768, 49152]", "[]")),
    "MX0109": Code("another version of the language", "This mixlang reads another version.", "mixlang: 1", "mixlang: 2"),
    "MX0110": Code("a key without a value", "It counts as left out.", "name: demo", "name: demo\ndescription:",
                   warning=True),
    "MX0111": Code(
        "null that takes nothing out",
        "An explicit null takes a name of a base out; here the base has no such name.",
        "name: demo",
        "name: demo\nobjective: {weights: {mir: null}}",
        warning=True,
    ),
    "MX0201": Code("no such domain", "A weight, bound or group names a domain the spec does not have.", "name: demo",
                   "name: demo\nobjective: {weights: {mr: 2}}"),
    "MX0202": Code("nothing to minimise", "Every weight is zero.", "name: demo",
                   "name: demo\nobjective: {weights: {ct: 0, mri: 0}}"),
    "MX0203": Code("a crop the patch does not divide", "Patches tile the crop exactly.", "crop: [96, 96, 96]",
                   "crop: [96, 90, 96]"),
    "MX0204": Code("nothing hidden, or nothing shown", "With so few patches the mask ratio leaves none on one side.",
                   "crop: [96, 96, 96]", "crop: [16, 16, 16]"),
    "MX0205": Code("a budget twice", "Each budget is listed once.", "49152]", "16384]"),
    "MX0206": Code("no whole number of batches", "A run is a whole number of optimizer steps.", "[16384,", "[16400,"),
    "MX0207": Code("a holdout budget that is fitted", "What is fitted proves nothing.", "[65536]", "[49152]"),
    "MX0208": Code("a holdout budget inside the probe range", "It proves interpolation, not extrapolation.", "[65536]",
                   "[40960]", warning=True),
    "MX0209": Code("nothing held out", "The mixture would be published unverified.", "holdout: [65536], ", "",
                   warning=True),
    "MX0210": Code("runs on the plateau", "Runs of under 128 steps have often learned the mean intensity only.",
                   "[16384,", "[6400,", warning=True),
    "MX0211": Code("mostly warmup", "Warmup takes over half of the smallest run.", "name: demo",
                   "name: demo\ntrain: {warmup_steps: 200}"),
    "MX0212": Code("mixtures at a budget that is not probed", "Mixtures run at probe budgets.", "name: demo",
                   "name: demo\ndesign: {mixtures: {budgets: [20480]}}"),
    "MX0213": Code("too few budgets", "Three points cannot tell a power law from one with a floor.",
                   "[16384, 24576, 32768, 49152]", "[16384, 24576, 32768]"),
    "MX0214": Code("too few probe runs", "Fewer points than 3 (domains + 1) cannot identify transfer.", "name: demo",
                   "name: demo\ndesign: {mixtures: {count: 0}}"),
    "MX0215": Code("shares that never vary", "Without single-domain runs there must be at least as many mixtures as "
                   "domains.", "name: demo", "name: demo\ndesign: {single_domain: false, mixtures: {count: 1}}"),
    "MX0216": Code("minimum shares over 1", "They cannot all hold.", "name: demo",
                   "name: demo\nconstraints: {share: {ct: {min: 0.6}, mri: {min: 0.6}}}"),
    "MX0217": Code("maximum shares under 1", "The budget could not be filled.", "name: demo",
                   "name: demo\nconstraints: {share: {ct: {max: 0.4}, mri: {max: 0.4}}}"),
    "MX0218": Code("heads that do not divide the width", "Each attention head gets the same number of channels.",
                   "name: demo", "name: demo\nmodel: {width: 100}"),
    "MX0219": Code("a batch that does not divide", "Each process takes the same part of every batch.", "name: demo",
                   "name: demo\nlaunch: {processes_per_run: 3}"),
    "MX0220": Code("each file its own subject", "Scans of one patient could fall on both sides of the split.", _CT,
                   "{modality: ct, source: {nifti: 'ct/*.nii.gz'}}", warning=True),
    "MX0221": Code("a law that costs break", "Laws of shares hold among mixtures of one total; unequal costs change "
                   "the total.", "name: demo", "name: demo\nlaw: {family: additive}"),
    "MX0222": Code("too few draws", "A robust objective is a mean over the worst draws.", "name: demo",
                   "name: demo\nobjective: {minimize: robust}\nlaw: {draws: 5}"),
    "MX0223": Code("a key that means nothing here", "It would be ignored.", "name: demo",
                   "name: demo\nobjective: {tail: 0.1}", warning=True),
    "MX0224": Code("a domain twice in a group", "Its share would count once or twice.", "name: demo",
                   "name: demo\nconstraints: {group: {all: {domains: [ct, ct], max: 0.9}}}"),
    "MX0225": Code("a group that its members contradict", "The bounds cannot hold together.", "name: demo",
                   "name: demo\nconstraints: {share: {ct: {min: 0.5}}, group: {big: {domains: [ct], max: 0.4}}}"),
    "MX0226": Code("not a regular expression", "`subject` is one.", _CT,
                   "{modality: ct, source: {nifti: 'ct/*.nii.gz', subject: '(sub'}}"),
    "MX0227": Code("a subject pattern without a group", "The whole match counts as the subject, which is often too "
                   "much.", _CT, "{modality: ct, source: {nifti: 'ct/*.nii.gz', subject: 'sub-[0-9]+'}}", warning=True),
    "MX0228": Code("a unit of another modality", "Values of one modality cannot be in the unit of another.",
                   "{modality: ct,", "{modality: ct, intensity: {unit: suv},"),
    "MX0229": Code("a clip without meaning", "MRI has no absolute scale to clip on.", "{modality: mri,",
                   "{modality: mri, intensity: {clip: [0, 1000]},"),
    "MX0230": Code("volumes smaller than the crop", "They are padded; padding is never shown or scored.",
                   "count: 400, shape: [192, 192, 192]", "count: 40, shape: [64, 64, 64]", warning=True),
    "MX0231": Code("a domain that cannot be split", "No subject would be left to train on.", "name: demo",
                   "name: demo\ndata: {split: {validation: 0.999}}"),
    "MX0232": Code("a far extrapolation", "The target is over 100 times the largest probe budget.", "100k", "20M",
                   warning=True),
    "MX0233": Code("one seed", "Without replicates the noise is unknown.", "target: 100k", "target: 100k, seeds: 1",
                   warning=True),
    "MX0234": Code(
        "a baseline twice",
        "Each is trained once.",
        "name: demo",
        "name: demo\nverify: {baselines: [uniform, uniform]}",
    ),
    "MX0235": Code(
        "budgets that hardly differ",
        "A power law shows over factors, not percents.",
        "[16384, 24576, 32768, 49152]",
        "[16384, 16448, 16512, 16576]",
        warning=True,
    ),
    "MX0236": Code(
        "a target below the probe",
        "The laws were fitted on runs longer than the one they are for.",
        "target: 100k",
        "target: 10k",
        warning=True,
    ),
    "MX0237": Code(
        "downstream tasks without a verification",
        "Their encoders are those of the verification runs, at one of the holdout budgets.",
        "name: demo",
        "name: demo\ndownstream: {budget: 49152}\ntasks: {liver: {kind: segmentation, domain: ct, classes: {liver: 2}}}",
    ),
    "MX0238": Code(
        "an encoder that is not trained",
        "Baselines are trained where verify.baselines names them.",
        "name: demo",
        "name: demo\ndownstream: {encoders: [unimax]}\ntasks: {liver: {kind: segmentation, domain: ct, classes: {liver: "
        "2}}}",
    ),
    "MX0239": Code(
        "a downstream setting twice",
        "Each encoder, mode and part of the labels is fitted once.",
        "name: demo",
        "name: demo\ndownstream: {labels: [1.0, 1.0]}\ntasks: {liver: {kind: segmentation, domain: ct, classes: {liver: "
        "2}}}",
    ),
    "MX0240": Code(
        "a label in two classes",
        "A voxel has one class.",
        "name: demo",
        "name: demo\ntasks: {organs: {kind: segmentation, domain: ct, classes: {liver: 2, all: [2, 3]}}}",
    ),
    "MX0241": Code(
        "one label map for all volumes",
        "The pattern must say how a volume's label map is called.",
        "name: demo",
        "name: demo\ntasks: {liver: {kind: segmentation, domain: ct, classes: {liver: 2}, label_map: "
        "label.nii.gz}}",
    ),
    "MX0242": Code(
        "labels that the source does not have",
        "Columns are those of a manifest; phantoms bring their label maps.",
        "name: demo",
        "name: demo\ntasks: {grade: {kind: classification, domain: ct, column: grade}}",
    ),
    "MX0243": Code(
        "a patch that the segmentation head cannot undo",
        "The head for fine-tuning doubles the resolution of the tokens until it has voxels.",
        "name: demo",
        "name: demo\nmodel: {patch: 12}\ntasks: {liver: {kind: segmentation, domain: ct, classes: {liver: "
        "2}}}",
    ),
    "MX0244": Code(
        "a mixture whose shares do not sum to 1",
        "Scaling them in silence might not be what was meant.",
        "name: demo",
        "name: demo\nverify: {mixtures: {habit: {ct: 0.7}}}",
    ),
    "MX0245": Code(
        "a mixture with a name of mixlang's own",
        "Results could not be told apart.",
        "name: demo",
        "name: demo\nverify: {mixtures: {uniform: {ct: 0.7, mri: 0.3}}}",
    ),
    "MX0246": Code(
        "a grid with more seeds than the mixture it is compared with",
        "Regret is paired by seed.",
        "name: demo",
        "name: demo\nverify: {seeds: 2, grid: {count: 15, seeds: 3}}",
    ),
    "MX0247": Code(
        "a grid without a holdout budget",
        "A grid is trained at the smallest of them.",
        "holdout: [65536], target: 100k}",
        "target: 100k}\nverify: {grid: {count: 15}}",
    ),
    "MX0248": Code(
        "no such task",
        "The objective names a task the spec does not have.",
        "name: demo",
        "name: demo\nobjective: {weights: {domains: 1, tasks: {liver: 1}}}",
    ),
    "MX0249": Code(
        "a task with the name of a domain",
        "Losses are known by name: a domain's and a task's need two.",
        "name: demo",
        "name: demo\ntasks: {ct: {kind: segmentation, domain: ct, classes: {liver: 2}}}",
    ),
    "MX0250": Code(
        "a task without a specialist",
        "With relative_to: specialist the losses of tasks are relative to proportional sampling all the same.",
        "name: demo",
        "name: demo\ntasks: {liver: {kind: segmentation, domain: ct, classes: {liver: 2}}}\nobjective: {relative_to: specialist, "
        "weights: {domains: 1, tasks: {liver: 1}}}",
        warning=True,
    ),
    "MX0251": Code(
        "mixtures at one budget",
        "Mixtures probed at one budget cannot show whether the advantage of one lasts: a domain that has just left its plateau "
        "makes the mixtures that are rich in it look better than they stay. Probe them on a ladder of budgets; runs that differ "
        "in budget alone share their beginnings.",
        "name: demo",
        "name: demo\ndesign: {mixtures: {count: 12, budgets: [24576]}}",
        warning=True,
    ),
    "MX0252": Code(
        "an optimal design without samples",
        "A design of kind optimal chooses runs for the samples that may be trained in all.",
        "name: demo",
        "name: demo\ndesign: {kind: optimal}",
    ),
    "MX0253": Code(
        "an optimal design with too few samples",
        "Fewer samples than two runs of the largest probe budget and as many of the smallest as there must be distinct runs "
        "leave no choice.",
        "name: demo",
        "name: demo\ndesign: {kind: optimal, samples: 20k}",
    ),
    "MX0301": Code("an undefined variable", "A `${variable}` of a path has no value on this machine.", _CT,
                   "{modality: ct, source: {manifest: '${data_root}/ct.csv'}}"),
    "MX0302": Code("data that are not there", "A source names no file of this machine.", _CT,
                   "{modality: ct, source: {manifest: 'ct.csv'}}"),
    "MX0303": Code("caps that cannot hold the budget", "With the repetition cap and share bounds, the data there are "
                   "do not fill the target."),
    "MX0304": Code("a minimum above its cap", "A domain's minimum share asks for more samples than its data give at "
                   "the repetition cap."),
    "MX0305": Code("a domain that cannot be split", "Too few subjects among its files: none would be left to train "
                   "on, or none to validate on."),
    "MX0306": Code(
        "heavy repetition",
        "From about 64 views of each distinct crop on, loss no longer follows the law the probe runs show; see "
        "train.repetition.",
        warning=True,
    ),
    "MX0307": Code(
        "too many unusable files",
        "More of a domain's files than data.max_quarantined were set aside; the first reasons are shown.",
    ),
    "MX0308": Code(
        "a file in two domains",
        "By content, whatever its name and subject. It could be trained on in one and validated on in the other, and be "
        "in the unit of only one.",
    ),
    "MX0309": Code(
        "a pattern that matches nothing",
        "`exclude`, `intensity.factors` or `files` of a task names files that the source does not have, or that an earlier rule "
        "takes: a typing error would otherwise let label maps in, or leave units as they are.",
    ),
    "MX0310": Code(
        "two studies under one name",
        "Both would publish their mixtures as versions of the same name; see publish.as.",
        warning=True,
    ),
    "MX0311": Code(
        "a task without labels",
        "No volume of the domain has a label map (or a class in the column), or a label map cannot be used: another "
        "grid than its image's, values that are no labels, not readable.",
    ),
    "MX0312": Code(
        "a task that cannot be measured",
        "A class is in too few subjects: with the smallest part of the labels it must be in a training subject, and in "
        "2 test subjects, of every fold. A classification needs 2 classes, since one alone has no AUROC.",
    ),
    "MX0313": Code(
        "a tracker that is not installed",
        "Its package is not there, so every run would be refused. Install it where runs are trained. `mixlang run` refuses "
        "to start where runs are trained on this machine.",
        warning=True,
    ),
    "MX0314": Code(
        "a domain that one subject or site dominates",
        "What the runs learn of the domain, or what its validation loss is measured on, is mostly one subject's or one "
        "site's. Subjects: over half of the draws, or over a fifth and over 3 times an equal part. Sites, where a manifest "
        "has a column `site` or `center` or a BIDS data set has `site` in participants.tsv: over three quarters, or over a "
        "fifth and over 3 times an equal part. `train.sampling: subject` draws each subject equally often.",
        warning=True,
    ),
    "MX0315": Code(
        "subjects that differ only in writing",
        "`P1`, `p01` and `sub-P001` may be one patient, who would then be trained on and validated on. Blanks at the ends and "
        "Unicode forms never count.",
        warning=True,
    ),
    "MX0316": Code(
        "data that are not here",
        "The data cannot be found on this machine, and an earlier scan of the same sources is committed: what it found is "
        "used. Planning, solving and publishing go on from committed results; only training needs the files.",
        warning=True,
    ),
    "MX0317": Code(
        "a version that cannot be reused",
        "Runs are kept where recipe, model, crop and data are the same. A version that is not in the registry, or was "
        "trained otherwise, teaches this study nothing.",
    ),
    "MX0318": Code(
        "a subject pattern that names nobody",
        "data.split.hold_out names subjects by which nothing would be held out.",
    ),
    "MX0401": Code("over the limit", "What is left to train, or to store, exceeds the spec's `limits`."),
}  # fmt: skip
