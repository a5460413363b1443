"""Wrong specs, one mistake each: the code, the place, and that the advice names the right word."""

import pytest
from conftest import SMALL_SPEC

from mixlang.spec import SpecError, load_spec

CT = "{modality: ct,  source: {phantom: {count: 12, seed: 1, shape: [24, 24, 24]}}}"
PHANTOM = "{phantom: {count: 12, seed: 1, shape: [24, 24, 24]}}"
DESIGN = "design: {mixtures: {count: 2, budgets: [480]}}"
CAP = "constraints: {repetition: 400}"


def downstream(before="", task=""):
    """A downstream section and a task, one of them with something wrong."""
    return (
        f"downstream: {{{before}}}\ntasks: {{organs: {{kind: segmentation, domain: ct, classes: {{liver: 2}}{task}}}}}"
    )


# what stands in the small spec, what is put in its place, the code, what stands where the caret is, words of the message
MISTAKES = [
    # YAML
    ("name: small", "name: small\nname: large", "MX0005", "name: large", "first at line 2"),
    ("batch_size: 8,", "batch_size: 8, batch_size: 16,", "MX0005", "batch_size: 16", "keep one"),
    ("  mri: {", "  ct: {", "MX0005", "ct: {modality: mri", "'ct' stands here twice"),
    ("name: small", "name: small\n<<: {a: 1}", "MX0006", "<<", "extends"),
    ("name: small", "name: small\n[a, b]: 1", "MX0007", "[a, b]", "plain word"),
    ("name: small", "name: !!python/object:os.system small", "MX0008", "!!python", "not allowed"),
    ("seeds: 1", "seeds: !!int one", "MX0008", "!!int", "leave the tag out"),
    ("target: 2000", f"target: {'1' * 301}", "MX0009", "111", "300 digits"),
    ("name: small", "name: small\n\tdata: 1", "MX0004", "", "tabs"),
    ("[16, 16, 16]", "[16, 16, 16", "MX0004", "", "not valid YAML"),
    ("name: small", "name: 'small", "MX0004", "'small", "a quote is opened here and not closed"),
    ("name: small", "name:small", "MX0004", "name:small", "put a space after the colon"),
    ("{validation_crops: 1}", "{validation_crops: 1", "MX0004", "{validation", "a bracket is opened here"),
    ("design:", "---\ndesign:", "MX0004", "---", "a spec is one document"),
    ("name: small", "name: small: x", "MX0004", "", "not valid YAML"),
    ("name: small", "name: &a small\ndescription: *b", "MX0004", "*b", "undefined alias"),
    ("target: 2000", "target:", "MX0004", "", "after the colon"),
    # keys
    ("name: small", "nmae: small", "MX0101", "nmae: small", "did you mean 'name'"),
    ("batch_size: 8", "batchsize: 8", "MX0101", "batchsize: 8", "did you mean 'batch_size'"),
    ("batch_size: 8", "batch-size: 8", "MX0101", "batch-size: 8", "did you mean 'batch_size'"),
    ("batch_size: 8", "batchSize: 8", "MX0101", "batchSize: 8", "did you mean 'batch_size'"),
    ("batch_size: 8", "bs: 8", "MX0101", "bs: 8", "did you mean 'batch_size'"),
    ("learning_rate: 5e-3", "lr: 5e-3", "MX0101", "lr: 5e-3", "did you mean 'learning_rate'"),
    ("learning_rate: 5e-3", "learning_rates: 5e-3", "MX0101", "learning_rates", "did you mean 'learning_rate'"),
    ("warmup_steps: 5", "warmup: 5", "MX0101", "warmup: 5", "did you mean 'warmup_steps'"),
    ("patch: 4", "patch_size: 4", "MX0101", "patch_size: 4", "did you mean 'patch'"),
    ("width: 48", "embed_dim: 48", "MX0101", "embed_dim: 48", "did you mean 'width'"),
    ("depth: 2", "num_layers: 2", "MX0101", "num_layers: 2", "did you mean 'depth'"),
    ("decoder_width: 24", "decoder_witdh: 24", "MX0101", "decoder_witdh", "did you mean 'decoder_width'"),
    ("crop: [16", "roi_size: [16", "MX0101", "roi_size", "did you mean 'crop'"),
    ("spacing: [1", "pixdim: [1", "MX0101", "pixdim", "did you mean 'spacing'"),
    ("validation_crops: 1", "validation_crop: 1", "MX0101", "validation_crop:", "did you mean 'validation_crops'"),
    ("name: small", "name: small\nlearning_rate: 1e-3", "MX0101", "learning_rate", "belongs under 'train'"),
    ("name: small", "name: small\nlr: 1e-3", "MX0101", "lr: 1e-3", "'learning_rate' belongs under 'train'"),
    ("name: small", "name: small\nrepetitions: 4", "MX0101", "repetitions", "known here"),
    ("name: small", "name: small\nprobe: [320]", "MX0101", "probe", "belongs under 'budgets'"),
    ("batch_size: 8", "seeds: 8", "MX0101", "seeds: 8", "belongs under 'budgets'"),
    ("  ct:  {modality: ct,", "  ct:  {modalitiy: ct,", "MX0101", "modalitiy", "did you mean 'modality'"),
    ("source: " + PHANTOM, "sources: " + PHANTOM, "MX0101", "sources", "did you mean 'source'"),
    ("{count: 12,", "{cuont: 12,", "MX0101", "cuont", "did you mean 'count'"),
    ("{phantom: {count: 12,", "{phantoms: {count: 12,", "MX0101", "phantoms", "did you mean 'phantom'"),
    (PHANTOM, "{path: x}", "MX0101", "path: x", "did you mean 'nifti'"),
    (PHANTOM, "{csv: x}", "MX0101", "csv: x", "did you mean 'manifest'"),
    (PHANTOM, "{nn_unet: x}", "MX0101", "nn_unet", "did you mean 'nnunet'"),
    ("budgets: {probe", "budget: {probe", "MX0101", "budget: {probe", "did you mean 'budgets'"),
    ("holdout: [1280]", "hold_out: [1280]", "MX0101", "hold_out", "did you mean 'holdout'"),
    ("design: {mixtures", "desing: {mixtures", "MX0101", "desing", "did you mean 'design'"),
    ("baselines: [prop", "baseline: [prop", "MX0101", "baseline: [prop", "did you mean 'baselines'"),
    (CAP, "constraints: {repetion: 400}", "MX0101", "repetion", "did you mean 'repetition'"),
    (CAP, "constraints: {share: {ct: {minimum: 0.1}}}", "MX0101", "minimum", "did you mean 'min'"),
    (CAP, "objective: {weight: {ct: 2}}", "MX0101", "weight: {ct", "did you mean 'weights'"),
    (CAP, downstream("encoders: [alocated], "), "MX0238", "alocated", "did you mean 'allocated'"),
    (CAP, downstream("encoders: [best_single], "), "MX0238", "best_single", "add 'best_single' to verify.baselines"),
    (CAP, "downstream: {encoders: [unform]}", "MX0238", "unform", "did you mean 'uniform'"),
    (CAP, "launch: {tracker: wanddb}", "MX0104", "wanddb", "did you mean 'wandb'"),
    (CAP, "launch: {tracker: comet}", "MX0104", "comet", "did you mean 'comet_ml'"),
    (CAP, "launch: {tracker: Tensorboard}", "MX0104", "Tensorboard", "did you mean 'tensorboard'"),
    (CAP, "limits: {max_device_hour: 3}", "MX0101", "max_device_hour:", "did you mean 'max_device_hours'"),
    (CAP, "launch: {gpus: 4}", "MX0101", "gpus", "did you mean 'processes_per_run'"),
    # what is missing
    ("target: 2000, ", "", "MX0102", "budgets:", "'target' is missing"),
    ("target: 2000", "target: ", "MX0102", "target: ,", "'target' has no value"),
    ("name: small\n", "", "MX0102", "mixlang: 1", "'name' is missing"),
    ("mixlang: 1\n", "", "MX0102", "name: small", "'mixlang: 1'"),
    ("modality: ct, ", "", "MX0102", "ct:  {", "'modality' is missing in 'ct'"),
    (" source: " + PHANTOM, "", "MX0102", "ct:  {", "'source' is missing"),
    ("count: 12, ", "", "MX0102", "phantom: {seed", "'count' is missing in 'phantom'"),
    ("probe: [320, 480, 640, 960], ", "", "MX0102", "budgets:", "'probe' is missing"),
    (CAP, "constraints: {group: {a: {min: 0.1}}}", "MX0102", "a: {min", "'domains' is missing"),
    (" {modality: ct,  source: " + PHANTOM + "}", "", "MX0103", "", "'ct' must be a section of keys, not nothing"),
    # types
    ("batch_size: 8", "batch_size: '8'", "MX0103", "'8'", "take off the quotes: 8"),
    ("batch_size: 8", "batch_size: 8.5", "MX0103", "8.5", "a whole number"),
    ("batch_size: 8", "batch_size: yes", "MX0103", "yes,", "a whole number"),
    ("batch_size: 8", "batch_size: 1_000", "MX0103", "1_000", "write 1000"),
    ("batch_size: 8", "batch_size: 0o17", "MX0103", "0o17", "write 15"),
    ("batch_size: 8", "batch_size: 0x10", "MX0103", "0x10", "write 16"),
    ("batch_size: 8", "batch_size: 12:30:45", "MX0103", "12:30:45", "a whole number"),
    ("batch_size: 8", "batch_size: [8]", "MX0103", "[8]", "not a list"),
    ("batch_size: 8", "batch_size: true", "MX0103", "true", "not true"),
    ("learning_rate: 5e-3", 'learning_rate: "5e-3"', "MX0103", '"5e-3"', "take off the quotes: 5e-3"),
    ("target: 2000", "target: 200,000", "MX0101", "000", "write 200000 or 200.000"),
    ("learning_rate: 5e-3", "learning_rate: 0,005", "MX0101", "005", "write 0005 or 0.005"),
    ("spacing: [1, 1, 1]", "spacing: [1,5, 1,5, 1,5]", "MX0105", "[1,5", "decimals have a point"),
    ("batch_size: 8", "batch_size: 40k", "MX0103", "40k", "write 40000"),
    ("spacing: [1, 1, 1]", "spacing: [1mm, 1, 1]", "MX0103", "1mm", "without its unit: 1"),
    ("depth: 2", "mask_ratio: 75%", "MX0103", "75%", "write a fraction: 0.75"),
    ("batch_size: 8", "batch_size:\u00a08", "MX0101", "batch_size", "U+00A0"),
    ("batch_size: 8", "batch_size\uff1a 8", "MX0101", "batch_size", "looks like a colon"),
    ("learning_rate: 5e-3", "learning_rate: '0,005'", "MX0103", "'0,005'", "write 0.005"),
    ("learning_rate: 5e-3", "learning_rate: fast", "MX0103", "fast", "must be a number"),
    ("learning_rate: 5e-3", "learning_rate: .nan", "MX0103", ".nan", "a finite number"),
    ("learning_rate: 5e-3", "weight_decay: .inf", "MX0103", ".inf", "a finite number"),
    ("warmup_steps: 5", "flips: no, warmup_steps: 5", "MX0103", "no,", "write false"),
    ("warmup_steps: 5", "flips: on, warmup_steps: 5", "MX0103", "on,", "write true"),
    ("warmup_steps: 5", "flips: 1, warmup_steps: 5", "MX0103", "1,", "write true"),
    ("warmup_steps: 5", "betas: 0.9, warmup_steps: 5", "MX0103", "0.9,", "[0.9, 0.95]"),
    ("name: small", "name: 7", "MX0103", "7", "starting with a letter"),
    ("name: small", "name: 2026", "MX0103", "2026", "starting with a letter"),
    ("name: small", "name: true", "MX0103", "true", "must be text"),
    ("name: small", "name: [small]", "MX0103", "[small]", "must be text"),
    ("data: {validation_crops: 1}", "data: 4", "MX0103", "4", "its keys are split, validation_crops"),
    ("volume: {spacing: [1, 1, 1], crop: [16, 16, 16]}", "volume: [1, 1, 1]", "MX0103", "[1, 1, 1]", "a section"),
    ("holdout: [1280]", "holdout: 1280", "MX0103", "1280", "must be a list"),
    (CAP, "objective: {weights: [1, 2]}", "MX0103", "[1, 2]", "a mapping of names to values"),
    (CAP, "objective: {weights: {ct: high}}", "MX0103", "high", "'ct' must be a number"),
    ("baselines: [proportional]", "baselines: proportional", "MX0103", "proportional", "must be a list"),
    (PHANTOM, "phantom", "MX0103", "phantom}", "a section of keys"),
    # words
    ("modality: ct,", "modality: ctt,", "MX0104", "ctt,", "did you mean 'ct'"),
    ("modality: ct,", "modality: CT,", "MX0104", "CT,", "did you mean 'ct'"),
    ("modality: mri,", "modality: mr,", "MX0104", "mr,", "did you mean 'mri'"),
    ("modality: mri,", "modality: MRT,", "MX0104", "MRT,", "did you mean 'mri'"),
    ("modality: ct,", "modality: no,", "MX0104", "no,", "'ct', 'mri' or 'pet'"),
    ("arch: vit_micro", "arch: vit_mirco", "MX0104", "vit_mirco", "did you mean 'vit_micro'"),
    ("arch: vit_micro", "arch: small", "MX0104", "small,", "did you mean 'vit_small'"),
    ("warmup_steps: 5", "warmup_steps: 5, precision: float16", "MX0104", "float16", "did you mean 'fp16'"),
    ("warmup_steps: 5", "warmup_steps: 5, precision: BF16", "MX0104", "BF16", "did you mean 'bf16'"),
    (
        "baselines: [proportional]",
        "baselines: [proportionate]",
        "MX0104",
        "proportionate",
        "did you mean 'proportional'",
    ),
    ("baselines: [proportional]", "baselines: [unform]", "MX0104", "unform", "did you mean 'uniform'"),
    (CAP, "objective: {minimize: worst-case}", "MX0104", "worst-case", "did you mean 'worst_case'"),
    (CAP, "objective: {minimize: minimax}", "MX0104", "minimax", "did you mean 'worst_case'"),
    (CAP, "law: {family: tranfer}", "MX0104", "tranfer", "did you mean 'transfer'"),
    (CAP, "launch: {executor: slrum}", "MX0104", "slrum", "'executor' must be"),
    (CAP, "launch: {max_parallel: all}", "MX0104", "all", "a number or 'auto'"),
    (CAP, "constraints: {repetition: none}", "MX0104", "none", "did you mean 'unlimited'"),
    # values
    ("target: 2000", "target: 2q", "MX0105", "2q", "did you mean '2k'"),
    ("target: 2000", "target: 2m", "MX0105", "2m", "did you mean '2M'"),
    ("target: 2000", "target: 2.5", "MX0105", "2.5", "whole number of samples"),
    ("target: 2000", "target: true", "MX0105", "true", "number of samples"),
    ("320, 480", "320, many", "MX0105", "many", "'many' is not a number of samples"),
    ("spacing: [1, 1, 1]", "spacing: [1, 1]", "MX0105", "[1, 1]", "3 numbers, one an axis, not 2"),
    ("crop: [16, 16, 16]", "crop: [16]", "MX0105", "[16]", "3 numbers"),
    (CAP, "constraints: {share: {ct: {min: .6, max: .2}}}", "MX0105", "{min: .6", "min 0.6 is above max 0.2"),
    (CAP, "limits: {max_disk: 5 gigs}", "MX0105", "5 gigs", "such as 500 GB"),
    ("{phantom: {count: 12,", "{nifti: x, phantom: {count: 12,", "MX0105", "{nifti", "exactly one"),
    (PHANTOM, "{}", "MX0105", "{}", "found none"),
    (PHANTOM, "{nifti: x, where: {a: b}}", "MX0105", "{nifti", "'where'"),
    (PHANTOM, "{manifest: x, subject: y}", "MX0105", "{manifest", "'subject'"),
    ("modality: ct,", "modality: ct, intensity: {clip: [5, 1]},", "MX0105", "[5, 1]", "in that order"),
    # names
    ("name: small", "name: 'a b'", "MX0106", "'a b'", "letters"),
    ("name: small", "name: ../up", "MX0106", "../up", "not a name"),
    ("  ct: ", "  c t: ", "MX0106", "c t:", "not a name"),
    ("  ct: ", "  1ct: ", "MX0106", "1ct:", "starting with a letter"),
    ("  ct: ", "  größe: ", "MX0106", "größe:", "not a name"),
    (CAP, "publish: {name: x}", "MX0101", "name", "known here: as"),
    (CAP, "limits: {max_disk: 500}", "MX0105", "500}", "with its unit, such as 500 GB"),
    (CAP, "constraints: {repetition: Unlimited}", "MX0104", "Unlimited", "did you mean 'unlimited'"),
    (CAP, "constraints: {repetition: 16x}", "MX0104", "16x", "without its unit: 16"),
    (CAP, "publish: {as: 'a/b'}", "MX0106", "'a/b'", "not a name"),
    # ranges
    ("batch_size: 8", "batch_size: 0", "MX0107", "0,", "at least 1"),
    ("batch_size: 8", "batch_size: -8", "MX0107", "-8", "at least 1, not -8"),
    ("learning_rate: 5e-3", "learning_rate: 0", "MX0107", "0,", "above 0"),
    ("learning_rate: 5e-3", "learning_rate: 30", "MX0107", "30", "at most 1"),
    ("depth: 2", "mask_ratio: 1", "MX0107", "1,", "at most 0.95"),
    ("count: 12", "count: 1", "MX0107", "1,", "at least 2"),
    ("crop: [16, 16, 16]", "crop: [16, 2, 16]", "MX0107", "2, 16]", "at least 4"),
    ("spacing: [1, 1, 1]", "spacing: [1, 0, 1]", "MX0107", "0, 1]", "above 0"),
    ("target: 2000", "target: 0", "MX0107", "0,", "at least 1"),
    ("seeds: 1", "seeds: 101", "MX0107", "101", "at most 100"),
    (CAP, "constraints: {repetition: 0}", "MX0107", "0}", "above 0"),
    (CAP, "constraints: {share: {ct: {min: 5}}}", "MX0107", "5}", "at most 1"),
    (CAP, "objective: {weights: {ct: -1}}", "MX0107", "-1", "at least 0"),
    (CAP, "launch: {max_parallel: 0}", "MX0107", "0}", "at least 1"),
    (CAP, "limits: {max_device_hours: -2}", "MX0107", "-2", "above 0"),
    ("probe: [320, 480, 640, 960]", "probe: []", "MX0108", "probe: []", "at least 1"),
    ("baselines: [proportional]", "baselines: []", "MX0108", "baselines", "at least 1"),
    ("warmup_steps: 5", "betas: [0.9], warmup_steps: 5", "MX0108", "betas", "at least 2"),
    ("mixlang: 1", "mixlang: 2", "MX0109", "2", "install a newer mixlang"),
    ("mixlang: 1", "mixlang: 0", "MX0109", "0", "write 'mixlang: 1'"),
    ("mixlang: 1", "mixlang: '2'", "MX0109", "'2'", "version '2'"),
    ("seeds: 2}", "seeds: }", "MX0110", "seeds: }", "its default holds: 2"),
    (CAP, "objective: {weights: {mir: null}}", "MX0111", "mir:", "none to take out"),
    # meaning
    (CAP, "constraints: {share: {pet: {min: 0.1}}}", "MX0201", "pet:", "no domain 'pet'"),
    (CAP, "constraints: {share: {mr: {min: 0.1}}}", "MX0201", "mr:", "did you mean 'mri'"),
    (CAP, "objective: {weights: {mir: 1}}", "MX0201", "mir:", "did you mean 'mri'"),
    (CAP, "constraints: {group: {a: {domains: [ct, mir]}}}", "MX0201", "mir]", "did you mean 'mri'"),
    (CAP, "objective: {weights: {ct: 0, mri: 0}}", "MX0202", "weights", "every weight is zero"),
    ("crop: [16, 16, 16]", "crop: [16, 18, 16]", "MX0203", "18, 16]", "use 16"),
    ("patch: 4", "patch: 16", "MX0204", "model:", "1 patches"),
    ("320, 480", "320, 320", "MX0205", "320, 640", "listed twice"),
    ("320, 480", "321, 480", "MX0206", "321, 480", "use 320"),
    ("holdout: [1280]", "holdout: [1281]", "MX0206", "1281]", "use 1280"),
    ("holdout: [1280]", "holdout: [960]", "MX0207", "960], target", "not held out"),
    ("holdout: [1280]", "holdout: [800]", "MX0208", "800], target", "interpolation"),
    ("holdout: [1280], ", "", "MX0209", "budgets:", "unverified"),
    ("seeds: 1}", "seeds: 1}", "MX0210", "320, 480", "start the ladder at 1.024k"),
    ("warmup_steps: 5", "warmup_steps: 50", "MX0211", "50}", "warmup"),
    ("budgets: [480]}", "budgets: [481]}", "MX0212", "481]", "320, 480, 640, 960"),
    ("[320, 480, 640, 960]", "[480, 640, 960]", "MX0213", "[480", "at least 4"),
    ("count: 2, budgets: [480]", "count: 0", "MX0214", "design:", "identify transfer"),
    ("design: {", "design: {single_domain: false, ", "MX0214", "design:", "identify transfer"),
    (
        "design: {mixtures: {count: 2",
        "design: {single_domain: false, mixtures: {count: 1",
        "MX0215",
        "design",
        "unvaried",
    ),
    (CAP, "objective: {weights: {domains: 1, tasks: {liver: 1}}}", "MX0248", "liver", "declare it under tasks"),
    (
        CAP,
        "tasks: {ct: {kind: segmentation, domain: ct, classes: {liver: 2}}}",
        "MX0249",
        "ct: {kind",
        "give the task another name",
    ),
    (
        CAP,
        "tasks: {liver: {kind: segmentation, domain: ct, classes: {liver: 2}}}\n"
        "objective: {relative_to: specialist, weights: {domains: 1, tasks: {liver: 1}}}",
        "MX0250",
        "specialist",
        "no specialist",
    ),
    (CAP, "objective: {weights: {tasks: {liver: 1}}}", "MX0105", "{tasks", "say what the domains weigh too"),
    (CAP, "objective: {weights: {domains: 1, tasks: 2}}", "MX0201", "domains: 1", "no domain 'domains'"),
    (CAP, "objective: {weights: {ct: 1, tasks: {liver: 1}}}", "MX0105", "{ct", "the groups are"),
    (CAP, "objective: {weights: {domains: 0, tasks: {}}}", "MX0202", "weights:", "nothing is left"),
    (CAP, "constraints: {share: {ct: {min: .6}, mri: {min: .6}}}", "MX0216", "share:", "1.2"),
    (CAP, "constraints: {share: {ct: {max: .4}, mri: {max: .4}}}", "MX0217", "share:", "0.8"),
    ("width: 48,", "width: 48, heads: 5,", "MX0218", "5,", "use heads: 4"),
    ("width: 48,", "width: 50,", "MX0218", "50,", "3 heads of the preset vit_micro"),
    ("decoder_width: 24", "decoder_width: 25", "MX0218", "25", "use decoder_heads: 1"),
    ("verify: {", "launch: {processes_per_run: 3}\nverify: {", "MX0219", "3}", "use 2"),
    ("verify: {", "launch: {processes_per_run: 2, accumulate: 3}\nverify: {", "MX0219", "3}", "use 2"),
    (CAP, "launch: {slurm: {nodes: 3}}", "MX0219", "3}", "processes_per_run: 3"),
    (CAP, "launch: {executor: slurm, slurm: {time: 4 hours}}", "MX0105", "4 hours", "1-12:00:00"),
    (CAP, "launch: {slurm: {partition: gpu long}}", "MX0105", "gpu long", "not one word"),
    (CAP, "launch: {slurm: {partitions: gpu}}", "MX0101", "partitions", "did you mean 'partition'"),
    (CAP, "launch: {retries: -1}", "MX0107", "-1", "at least 0"),
    (PHANTOM, "{nifti: x}", "MX0220", "x}", "own subject"),
    ("modality: ct,", "modality: ct, cost: 2,", "MX0221", "additive", "costs are equal"),
    (CAP, "objective: {minimize: robust}\nlaw: {draws: 3}", "MX0222", "3}", "at least 10"),
    ("target: 2000", "target: 4000", "MX0251", "budgets:", "at one budget only, 480"),
    (DESIGN, "design: {kind: optimal}", "MX0252", "kind", "say how many samples"),
    (DESIGN, "design: {kind: optimal, samples: 2000}", "MX0253", "2000", "raise design.samples"),
    (DESIGN, "design: {kind: optimal, samples: 9000, mixtures: {count: 2}}", "MX0223", "mixtures", "kind optimal"),
    (DESIGN, "design: {samples: 9000}", "MX0223", "samples", "kind sobol"),
    (CAP, "constraints: {worse: much}", "MX0105", "much", "write 0.02 or 2%"),
    (CAP, "constraints: {worse: 200%}", "MX0107", "200%", "1"),
    (CAP, "objective: {decide: guess}", "MX0104", "guess", "did you mean 'best_guess'"),
    (CAP, "law: {draws: 0}", "MX0222", "0}", "or objective.decide: best_guess"),
    (CAP, "objective: {minimize: worst_case, decide: expected}", "MX0223", "decide", "there is only the optimum"),
    (CAP, "objective: {tail: 0.5}", "MX0223", "tail", "minimize: robust"),
    ("warmup_steps: 5", "schedule: cosine, decay_fraction: 0.3", "MX0223", "decay_fraction", "schedule cosine"),
    (CAP, "law: {family: power, choose: all}", "MX0223", "choose", "the law 'power'"),
    (CAP, "downstream: {labels: [0.5, 1.0]}", "MX0223", "labels", "without tasks"),
    (CAP, "constraints: {group: {a: {domains: [ct, ct]}}}", "MX0224", "ct]", "twice"),
    (
        CAP,
        "constraints: {share: {ct: {min: .5}}, group: {a: {domains: [ct], max: .4}}}",
        "MX0225",
        "a:",
        "raise its max",
    ),
    (
        CAP,
        "constraints: {share: {ct: {max: .2}}, group: {a: {domains: [ct], min: .4}}}",
        "MX0225",
        "a:",
        "lower its min",
    ),
    (PHANTOM, "{nifti: x, subject: '(a'}", "MX0226", "'(a'", "regular expression"),
    (PHANTOM, "{nifti: x, subject: 'a+'}", "MX0227", "'a+'", "in parentheses"),
    ("modality: ct,", "modality: ct, intensity: {unit: suv},", "MX0228", "suv", "did you mean 'hu'"),
    ("modality: mri,", "modality: mri, intensity: {clip: [0, 9]},", "MX0229", "clip", "take it out"),
    ("count: 12, seed: 1, shape: [24, 24, 24]", "count: 12, shape: [12, 24, 24]", "MX0230", "phantom", "12 x 24 x 24"),
    ("data: {validation_crops: 1}", "data: {split: {validation: 0.99}}", "MX0231", "12,", "raise the count"),
    ("target: 2000", "target: 1M", "MX0232", "1M", "probe up to 10k"),
    ("seeds: 1}", "seeds: 1}", "MX0233", "1}", "noise between seeds"),
    ("baselines: [proportional]", "baselines: [uniform, uniform]", "MX0234", "uniform]", "listed twice"),
    ("[320, 480, 640, 960]", "[320, 328, 336, 344]", "MX0235", "probe:", "a factor of 1.07 only"),
    ("target: 2000", "target: 160", "MX0236", "160", "below every probe budget"),
    (CAP, downstream("budget: 960, "), "MX0237", "960", "not a holdout budget"),
    (CAP, downstream("encoders: [unimax], "), "MX0238", "unimax", "among verify.baselines"),
    (CAP, downstream("labels: [.5, .5], "), "MX0239", ".5]", "listed twice"),
    (
        CAP,
        downstream().replace("liver: 2", "liver: 2, all: [2, 3]"),
        "MX0240",
        "[2, 3]",
        "in the class 'liver' already",
    ),
    (CAP, downstream(task=", label_map: l.nii"), "MX0241", "l.nii", "'{stem}_label.nii.gz'"),
    (CAP, downstream(task=", label_map: '{stem}.nii'"), "MX0242", "label_map", "come with their label maps"),
    (
        "patch: 4, width: 48, depth: 2, decoder_width: 24}",
        f"patch: 2}}\n{downstream()}",
        "MX0243",
        "segm",
        "power of two",
    ),
    ("baselines: [proportional]", "mixtures: {mine: {ct: .7}}", "MX0244", "mine", "sum to 0.7"),
    ("baselines: [proportional]", "mixtures: {mine: {ct: .7, mr: .3}}", "MX0201", "mr", "did you mean 'mri'"),
    ("baselines: [proportional]", "mixtures: {unimax: {ct: 1}}", "MX0245", "unimax", "another name"),
    ("baselines: [proportional]", "grid: {count: 15, seeds: 5}", "MX0246", "grid", "use seeds: 2 or fewer"),
    (
        "holdout: [1280], target: 2000, seeds: 1}",
        "target: 2000}\nverify: {grid: {count: 15}}\nx: 1",
        "MX0247",
        "grid",
        "hold",
    ),
]


def diagnostics(tmp_path, text):
    path = tmp_path / "spec.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        return load_spec(path).warnings
    except SpecError as error:
        return error.diagnostics


@pytest.mark.parametrize(
    ("old", "new", "code", "at", "words"), MISTAKES, ids=[f"{m[2]}-{i}" for i, m in enumerate(MISTAKES)]
)
def test_a_mistake_is_found_at_its_place(tmp_path, old, new, code, at, words):
    assert old in SMALL_SPEC
    text = SMALL_SPEC.replace(old, new, 1)
    if code == "MX0221":
        text += "law: {family: additive}\n"
    reported = diagnostics(tmp_path, text)
    found = [item for item in reported if item.code == code]
    assert found, [item.render() for item in reported]
    line = [*text.splitlines(), ""][found[0].position.line - 1]
    assert line[found[0].position.column - 1 :].startswith(at), found[0].render()
    assert words in found[0].render(), found[0].render()


def test_there_are_enough_of_them():
    assert len(MISTAKES) >= 120


def test_every_code_of_one_file_is_among_them():
    from mixlang.spec.codes import CODES

    elsewhere = {"MX0001", "MX0002", "MX0003", "MX0011", "MX0012", "MX0013", "MX0014", "MX0100"}
    with_data = {code for code in CODES if code >= "MX03"}
    assert {code for _, _, code, _, _ in MISTAKES} == set(CODES) - elsewhere - with_data


def test_mistakes_do_not_hide_each_other(tmp_path):
    """All of several mistakes in different sections are reported at once, in file order, with no consequential ones."""
    text = SMALL_SPEC
    for old, new in (
        ("modality: ct,", "modality: cat,"),
        ("crop: [16, 16, 16]", "crop: [16, 18, 16]"),
        ("batch_size: 8", "batch_sise: 8"),
        ("target: 2000", "target: "),
        (CAP, "constraints: {share: {mir: {min: 0.5}}}"),
        ("seeds: 2}", "seeds: two}"),
    ):
        text = text.replace(old, new, 1)
    found = diagnostics(tmp_path, text)
    assert [item.code for item in found] == ["MX0104", "MX0203", "MX0101", "MX0102", "MX0201", "MX0103"]
    assert [item.position.line for item in found] == sorted(item.position.line for item in found)


@pytest.mark.parametrize(
    "written", ["00123", "1e3", ".5", "+1", "01", "1.10", "-0", "1.", "1e400", ".inf", "True", "1" * 90]
)
def test_a_hint_quotes_a_value_as_it_is_written(tmp_path, written):
    """And what it offers is accepted, as that text."""
    text = SMALL_SPEC + "launch: {slurm: {account: PUT}}\n"
    (found,) = [item for item in diagnostics(tmp_path, text.replace("PUT", written)) if item.code == "MX0103"]
    assert f"not {written}" in found.message or f"not {written[:57]}" in found.message
    assert found.help == f"put it in quotes: '{written}'"
    path = tmp_path / "spec.yaml"
    path.write_text(text.replace("PUT", found.help.removeprefix("put it in quotes: ")))
    assert load_spec(path).spec.launch.slurm.account == written


@pytest.mark.parametrize("written", ["1_000", "0x10", "0o17", "12:30:45", "2024-01-01", "yes", "no", "1e", "0b1"])
def test_what_is_text_stays_as_it_is_written(tmp_path, written):
    path = tmp_path / "spec.yaml"
    path.write_text(SMALL_SPEC + f"launch: {{slurm: {{account: {written}}}}}\n")
    assert load_spec(path).spec.launch.slurm.account == written


def test_values_of_a_base_and_of_the_command_line_are_quoted_as_written(tmp_path):
    (tmp_path / "base.yaml").write_text("launch: {slurm: {account: 007}}\n")
    path = tmp_path / "spec.yaml"
    path.write_text(SMALL_SPEC + "extends: base.yaml\n")
    with pytest.raises(SpecError) as error:
        load_spec(path, overrides=["launch.slurm.qos=1.10", "train.batch_size=8e0"])
    helps = [item.help for item in error.value.diagnostics if item.severity == "error"]
    assert helps == ["put it in quotes: '007'", "put it in quotes: '1.10'", "write 8"]


def test_a_number_too_long_to_be_one_is_no_defect(tmp_path):
    found = diagnostics(tmp_path, SMALL_SPEC.replace("batch_size: 8", f"batch_size: '{'9' * 5000}'"))
    assert [item.code for item in found if item.severity == "error"] == ["MX0103"]
