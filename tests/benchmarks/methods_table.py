"""The project's table of methods, from results/*.json; make_readme.py writes it."""

import statistics

from stored import load, percent, table

ARXIV = "https://arxiv.org/abs/"
METHODS = {
    "simclr": ("Chen et al. 2020", f"{ARXIV}2002.05709", "simclr_mnist_cpu"),
    "moco": ("Chen et al. 2020 (v2)", f"{ARXIV}2003.04297", "moco_mnist_cpu"),
    "byol": ("Grill et al. 2020", f"{ARXIV}2006.07733", "byol_mnist_cpu"),
    "dino": ("Caron et al. 2021", f"{ARXIV}2104.14294", "dino_mnist_cpu"),
    "mae": ("He et al. 2021", f"{ARXIV}2111.06377", "mae_mnist_cpu"),
    "simmim": ("Xie et al. 2021", f"{ARXIV}2111.09886", "simmim_mnist_cpu"),
    "ijepa": ("Assran et al. 2023", f"{ARXIV}2301.08243", "ijepa_mnist_cpu"),
    "rotation": ("Gidaris et al. 2018", f"{ARXIV}1803.07728", "rotation_mnist_cpu"),
    "jigsaw": ("Noroozi & Favaro 2016", f"{ARXIV}1603.09246", "jigsaw_mnist_cpu"),
    "context_prediction": ("Doersch et al. 2015", f"{ARXIV}1505.05192", "context_prediction_mnist_cpu"),
    "colorization": ("Zhang et al. 2016", f"{ARXIV}1603.08511", "colorization_cifar10_cpu"),
    "autoencoder": ("Hinton & Salakhutdinov 2006", "https://doi.org/10.1126/science.1127647", "autoencoder_mnist_cpu"),
    "denoising_autoencoder": (
        "Vincent et al. 2008",
        "https://doi.org/10.1145/1390156.1390294",
        "denoising_autoencoder_mnist_cpu",
    ),
    "vae": ("Kingma & Welling 2013", f"{ARXIV}1312.6114", "vae_mnist_cpu"),
}
JOINT = {
    "barlow_twins": f"[Zbontar et al. 2021]({ARXIV}2103.03230)",
    "simsiam": f"[Chen & He 2020]({ARXIV}2011.10566)",
    "vicreg": f"[Bardes et al. 2021]({ARXIV}2105.04906)",
    "swav": f"[Caron et al. 2020]({ARXIV}2006.09882)",
    "deepcluster_v2": f"[Caron et al. 2020]({ARXIV}2006.09882)",
    "nnclr": f"[Dwibedi et al. 2021]({ARXIV}2104.14548)",
    "wmse": f"[Ermolov et al. 2020]({ARXIV}2007.06346)",
    "moco_v3": f"[Chen et al. 2021]({ARXIV}2104.02057)",
    "lejepa": f"[Balestriero & LeCun 2025]({ARXIV}2511.08544)",
    "supcon": f"[Khosla et al. 2020]({ARXIV}2004.11362)",
}
"""Of `joint_embedding_cifar10.json`."""
BEGIN, END = "<!-- methods: tests/benchmarks/make_readme.py -->\n", "<!-- end -->"


def methods() -> str:
    """The project's table: every method, its paper, a measured result and its control."""
    rows = []
    for method, (authors, link, name) in METHODS.items():
        found, control = load(name)["evaluate"]["metrics"], load(name)["evaluate"]["controls"]
        data = {"mnist": "MNIST", "cifar10": "CIFAR-10"}[name.split("_")[-2]]
        knn = "probe/knn_accuracy"
        result, untrained = f"{data} kNN {percent(found[knn])}", f"untrained encoder {percent(control[knn])}"
        rows.append([f"`{method}`", f"[{authors}]({link})", "image", result, untrained])
    for method, paper in JOINT.items():
        run = load("joint_embedding_cifar10")["runs"][method]["evaluate"]
        found, control = (percent(run[side]["probe/knn_accuracy"]) for side in ("metrics", "controls"))
        reads = ", which reads labels" if method == "supcon" else ""
        result = f"CIFAR-10 in four epochs, kNN {found}{reads}"
        rows.append([f"`{method}`", paper, "image", result, f"untrained encoder {control}"])
    rows.append(["`next_frame`", f"[Srivastava et al. 2015]({ARXIV}1502.04681)", "video", *_frames()])
    reviews = {run["what"]: run for run in load("movie_reviews")["runs"]}
    characters = load("shakespeare_char_cpu")["runs"][-3]["metrics"]["val/loss"]
    pairs = reviews["NSP, from that MLM"]["counts"]
    order = reviews["Denoising"]["sentence_order"]
    few = "probe/linear_accuracy_1000"

    def polarity(run: str) -> list[str]:
        found, control = (reviews[run]["evaluate"][side][few] for side in ("metrics", "controls"))
        return [f"sentence polarity, 1,000 labels {percent(found)}", f"untrained encoder {percent(control)}"]

    return table(
        ["`method=`", "paper", "modality", "measured result", "control"],
        [
            *rows,
            [
                "`causal_lm`",
                "[Radford et al. 2018](https://cdn.openai.com/research-covers/language-unsupervised/language_understanding_paper.pdf)",
                "text",
                f"tinyshakespeare loss {characters:.2f}",
                "nanoGPT's own 1.88",
            ],
            ["`mlm`", f"[Devlin et al. 2018]({ARXIV}1810.04805)", "text", *polarity("MLM")],
            [
                "`distil_mlm`",
                f"[Sanh et al. 2019]({ARXIV}1910.01108)",
                "text",
                *polarity("DistilBERT's student of that MLM"),
            ],
            [
                "`nsp`",
                f"[Devlin et al. 2018]({ARXIV}1810.04805)",
                "text",
                f"next sentence {percent(pairs['run']['accuracy'])}",
                f"counts at the border {percent(pairs['counts']['accuracy'])}",
            ],
            [
                "`denoising_lm`",
                f"[Lewis et al. 2019]({ARXIV}1910.13461)",
                "text",
                f"true sentence order likelier in {percent(order['true_order_likelier'])}",
                "chance 50 %",
            ],
            ["`hubert`", f"[Hsu et al. 2021]({ARXIV}2106.07447)", "sound", *_digits_of_new_speakers()],
            ["`clip`", f"[Radford et al. 2021]({ARXIV}2103.00020)", "image-text", *_drawings_of_a_new_style()],
            ["`siglip`", f"[Zhai et al. 2023]({ARXIV}2303.15343)", "image-text", *_siglip()],
        ],
    )


def _digits_of_new_speakers() -> list[str]:
    folds = [run["evaluate"] for run in load("hubert_mels_fsdd_cpu")["runs"]]
    trained, untrained, mfcc = (
        statistics.mean(fold[side]["probe/linear_accuracy"] for fold in folds)
        for side in ("metrics", "controls", "raw")
    )
    control = f"untrained encoder {percent(untrained)}, MFCC {percent(mfcc)}"
    return [f"spoken digits of a new speaker, linear {percent(trained)}", control]


def _drawings_of_a_new_style() -> list[str]:
    found = load("clip_emoji_cpu")["evaluate"]["metrics"]
    ways = [percent(found[f"test/{way}_recall_at_1"]) for way in ("image_to_text", "text_to_image")]
    return [f"emoji of an unseen vendor among 1,911: R@1 {' and '.join(ways)}", "chance and untrained 0.05 %"]


def _siglip() -> list[str]:
    rows = load("clip_emoji_ablation")["rows"]
    ours, clip = (
        [percent(row["metrics"][f"test/{way}_recall_at_1"]) for way in ("image_to_text", "text_to_image")]
        for row in (next(row for row in rows if row["what"] == "`method=siglip`"), rows[0])
    )
    result = f"the same of another vendor, a sixth as long: R@1 {' and '.join(ours)}"
    return [result, f"chance 0.05 %; `clip` {' and '.join(clip)}"]


def _frames() -> list[str]:
    errors = load("next_frame_mnist_cpu")["evaluate"]["painted"]["test/prediction_error"]
    result = f"Moving-MNIST squared error {errors['this run']:.4f}"
    return [result, f"last frame {errors['persistence']:.4f}, mean frame {errors['mean frame']:.4f}"]


def with_methods(readme: str) -> str:
    """The project's README with its table of methods as the results have it."""
    before, rest = readme.split(BEGIN)
    return f"{before}{BEGIN}{methods()}\n{END}{rest.split(END, 1)[1]}"
