"""What is told about a run: bars on a terminal, one line a step elsewhere."""

import io

from absl.testing import absltest

from nrf.runs import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def run(told):
    """A small run, as experiments report it: one step is loaded, two are made."""
    told.start(3)
    told.skip("seed0/standard")
    told.begin("seed0/robust", 200)
    for epoch in (1, 2):
        told.advance("seed0/robust", 100)
        told.metrics("seed0/robust", {"epoch": epoch, "loss": 0.5 / epoch})
    told.end("seed0/robust", 12.34, "accuracy 96.5 %")
    told.begin("seed0/D_R", None)
    told.advance("seed0/D_R", 7)
    told.end("seed0/D_R", 1.0, "")
    told.close()


class ProgressTest(absltest.TestCase):
    def test_a_log_has_one_line_a_step(self):
        log = io.StringIO()
        run(progress.for_stream(log))
        self.assertEqual(
            log.getvalue().splitlines(),
            [
                "1 step was there already",
                "[2/3] seed0/robust: 12.3 s, accuracy 96.5 %",
                "[3/3] seed0/D_R: 1.0 s",
                "13 s in all",
            ],
        )

    def test_a_log_of_a_finished_run_has_one_line(self):
        log = io.StringIO()
        told = progress.for_stream(log)
        for step in ("seed0/standard", "seed0/robust"):
            told.skip(step)
        told.close()
        self.assertEqual(log.getvalue(), "2 steps were there already\n")

    def test_a_terminal_has_bars_with_metrics(self):
        screen = Terminal()
        run(progress.for_stream(screen))
        self.assertIn("seed0/robust: 100%", screen.getvalue())
        self.assertIn("200/200", screen.getvalue())
        self.assertIn("loss 0.25", screen.getvalue())
        self.assertIn("accuracy 96.5 %", screen.getvalue())
        self.assertIn("7.00 images", screen.getvalue())
        self.assertNotIn("standard", screen.getvalue())

    def test_bars_of_a_run_that_was_stopped_are_closed(self):
        screen = Terminal()
        told = progress.for_stream(screen)
        told.begin("seed0/robust", 200)
        told.close()
        self.assertTrue(screen.getvalue().endswith("\n"))

    def test_metrics_reach_the_callback_and_the_progress(self):
        heard, log = [], io.StringIO()
        both = progress.combine(progress.Lines(log), lambda *args: heard.append(args))
        run(both)
        self.assertEqual(
            heard,
            [
                ("seed0/robust", {"epoch": 1, "loss": 0.5}),
                ("seed0/robust", {"epoch": 2, "loss": 0.25}),
            ],
        )
        self.assertLen(log.getvalue().splitlines(), 4)

    def test_nothing_given_is_silent(self):
        run(progress.combine())

    def test_words(self):
        self.assertEqual(
            progress.words({"epoch": 3, "loss": 0.412345, "set": "D_R"}),
            "epoch 3, loss 0.4123, set D_R",
        )
