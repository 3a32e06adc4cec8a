"""The catalogue of failures: all are flagged, most are named, and nothing sound is."""

import collections

from absl.testing import parameterized
from failures.broken import ATTACKS, BROKEN, NETWORKS, SETTINGS
from failures.measure import measured, names, quick
from failures.sound import SOUND


class CatalogueTest(parameterized.TestCase):
    def test_it_is_large_and_has_no_case_twice(self):
        cases = [case._replace(name="") for case in (*BROKEN, *SOUND)]
        self.assertLen(set(cases), len(cases))
        self.assertLen({case.name for case in (*BROKEN, *SOUND)}, len(cases))
        self.assertGreaterEqual(len(BROKEN), 25)
        self.assertGreaterEqual(len(SOUND), 20)
        self.assertTrue(all(case.causes for case in BROKEN))
        self.assertFalse(any(case.causes for case in SOUND))

    @parameterized.named_parameters(
        ("networks", NETWORKS), ("attacks", ATTACKS), ("settings", SETTINGS)
    )
    def test_the_thorough_check_flags_all_and_names_their_causes(self, cases):
        unnamed = [c.name for c in cases if not names(measured(c)) & set(c.causes)]
        self.assertEqual(unnamed, [])

    def test_nothing_sound_is_flagged(self):
        alarms = {c.name: names(measured(c)) for c in SOUND if names(measured(c))}
        self.assertEqual(alarms, {})

    def test_the_quick_check_misses_what_it_says_it_does_not_look_at(self):
        missed = [c.name for c in BROKEN if not names(quick(measured(c)))]
        self.assertEqual(missed, ["steps too large"])
        remarks = quick(measured(SOUND[0])).remarks
        self.assertEqual(
            remarks,
            (
                "Not checked: a very large epsilon, more steps, another attack, "
                "whether the attack finds what is planted (an active test).",
            ),
        )
        self.assertEqual(measured(SOUND[0]).remarks, ())

    def test_what_is_planted_tells_weak_attacks_from_robust_networks(self):
        """Without a second attack."""
        found = collections.defaultdict(list)
        for case in (*SOUND, *ATTACKS):
            evidence = measured(case)
            found[case.name].append(evidence.found / max(1, evidence.planted))
            if case in SOUND and case.epsilon > 0.02:
                self.assertGreater(evidence.planted, 10, case.name)
        for case in SOUND:
            self.assertGreaterEqual(min(found[case.name]), 0.95, case.name)
        # It withstands everything, and what is planted is found all the same.
        robust = measured(next(c for c in SOUND if c.name == "very robust"))
        self.assertEqual((robust.withstood, robust.found), (robust.total, 64))
        for name in ("no steps", "random points", "a decoy for a loss"):
            self.assertLess(min(found[name]), 0.2, name)
