"""Evaluations that are right, though something about them is unusual."""

from failures import Case

SOUND = (
    Case("as usual"),
    Case("a tiny radius", epsilon=0.01),
    Case("a small radius", epsilon=0.05),
    Case("a large radius", epsilon=0.9),
    Case("a radius that nothing withstands", epsilon=1.3),
    Case("climbs the margin", loss="margin"),
    Case("steps of twice the length", crossings=5.0),
    Case("just reaches the edge", crossings=1.0, epsilon=0.2),
    Case("linear", network="linear"),
    Case("very robust", network="stripes", data="stripes"),
    Case("very robust, a tiny radius", network="stripes", data="stripes", epsilon=0.02),
    Case("random weights, labels as it answers", network="random", data="as answered"),
    Case("bfloat16", precision="bfloat16"),
    Case("bfloat16, a tiny radius", precision="bfloat16", epsilon=0.02),
    Case(
        "bfloat16, very robust", network="stripes", data="stripes", precision="bfloat16"
    ),
    Case("bfloat16, linear", network="linear", precision="bfloat16"),
    Case("float16", precision="float16"),
    Case("logits with an offset", logits="offset"),
    Case("temperature 1,000", logits="a thousandth"),
    Case("temperature 1e14", logits="vanishingly small"),
    Case(
        "temperature 0.001, climbs the margin", logits="a thousand times", loss="margin"
    ),
    Case("log-probabilities", logits="log-probabilities"),
    Case("bounded logits", logits="saturated by tanh"),
    Case("a class that it never says", logits="never class 0"),
    Case("noise that is always the same", images="fixed noise"),
    Case("twelve images", data="few"),
)
