"""Where the paper's print is wrong, and what is right."""

from nrf.report import page

CORRECTIONS = (
    (
        "Section 4, the classifier",
        "arg max over y of ℓ(x; yμ, Σ)",
        "arg min: ℓ is a negative log-likelihood",
    ),
    (
        "Theorem 1, the adversary",
        "climbs ℓ − C‖δ‖₂",
        "climbs ℓ − ½C‖δ‖₂²; without the square there is no maximum",
    ),
    (
        "Theorem 1, the condition",
        "C ≥ 1/σₘᵢₙ",
        "C > 1/σₘᵢₙ; at equality there is no maximum",
    ),
    (
        "Theorem 1, the formula",
        "tr[(I + (CΣ − I)⁻¹)²] − d",
        "half of it: ℓ has a ½ that the trace leaves out",
    ),
    (
        "Lemma 1, the multiplier",
        "a λ with ‖δ‖ = ε",
        "the only one with λ ≥ 1/σₘᵢₙ; the others are not the maximum",
    ),
    (
        "Theorem 2, the solution",
        "λ implicit, for ε below some ε₀",
        "τ = 4/λ is the one root of ε² = ¼ Σᵢ (√(σᵢ + τ) − √σᵢ)², for every ε > 0",
    ),
    (
        "Theorem 2, the bounds on λ",
        "Ω((1 + √ε) / (√ε + ε√ε)) and O((1 + √ε) / √ε)",
        "ε there is the squared radius; in the radius "
        "Ω((1 + ε) / (ε + ε³)) and O((1 + ε) / ε)",
    ),
    (
        "Theorem 2, the relaxation",
        "exact as the dimension grows",
        "only if the budget is spread over many directions: "
        "Σᵢ rᵢ⁴ / (Σᵢ rᵢ²)² → 0, with rᵢ the push along axis i",
    ),
    (
        "Theorem 3, the conditions",
        "a strict gain in the worst case, always",
        "for ε > 0 and Σ not a multiple of I; then for every μ outside of a single "
        "eigenspace, not only for the worst",
    ),
)


def corrections() -> str:
    return page.section(
        "Where the code differs from the print",
        page.table(["where", "printed", "here"], CORRECTIONS),
        page.paragraph(
            "σₘᵢₙ is the smallest variance, r the root mean square of the push. None "
            "of these changes what the paper concludes, but for the relaxation: the "
            "limit of high dimension needs a condition.",
            note=True,
        ),
    )
