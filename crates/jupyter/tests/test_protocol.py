"""The kernel as a Jupyter client sees it."""

import os
import platform
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from unittest import mock

from client import PATIENCE, Kernel

TRAIN = 'training("nano-1d").images({images}).epochs({epochs}).set("data.source.val", 64).run("{run}")?'


def sessions():
    """Folders of running sessions."""
    folder = Path(os.environ["KERNELSCOPE_CACHE"]) / "sessions"
    return {path for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else set()


class Protocol(unittest.TestCase):
    """Everything that one session can show."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.kernel = Kernel(cwd=cls.folder.name)
        print(f"\nkernel info after {cls.kernel.ready:.2f} s, first answer after {cls.kernel.warm:.1f} s", flush=True)

    @classmethod
    def tearDownClass(cls):
        cls.kernel.__exit__()
        cls.folder.cleanup()

    def run_cell(self, code):
        cell = self.kernel.run(code)
        self.assertEqual(cell.reply["status"], "ok", cell.error)
        return cell

    def test_kernel_info_names_the_language(self):
        self.kernel.client.kernel_info()
        info = self.kernel.client.get_shell_msg(timeout=PATIENCE)["content"]
        self.assertEqual(info["language_info"]["name"], "rust")
        self.assertEqual(info["implementation"], "kernelscope")

    def test_values_and_variables_stay(self):
        self.run_cell("let kept = vec![1, 2, 3];")
        self.assertEqual(self.run_cell("kept.iter().sum::<i32>()").result["text/plain"].strip(), "6")
        self.assertEqual(self.run_cell("kept.len()").result["text/plain"].strip(), "3")

    def test_tensors_of_one_cell_have_gradients_in_another(self):
        self.run_cell("let w = Var::new(&[1f32, 2.0, 3.0], &Device::Cpu)?;")
        self.run_cell("let y = (w.as_tensor() * w.as_tensor())?.sum_all()?;")
        cell = self.run_cell("let g = y.backward()?; g.get(w.as_tensor()).ok_or(\"none\")?.to_vec1::<f32>()?")
        self.assertEqual(cell.result["text/plain"].strip(), "[2.0, 4.0, 6.0]")

    def test_a_tensor_shows_itself_as_a_picture(self):
        data = self.run_cell("Tensor::randn(0f32, 1.0, (8, 8), &Device::Cpu)?").result
        self.assertIn("[8, 8]", data["text/plain"])
        self.assertTrue(data["image/svg+xml"].startswith("<svg"), data["image/svg+xml"][:80])

    def test_a_figure_that_moves_a_variable_is_a_figure(self):
        self.run_cell("let counts: Vec<(usize, usize)> = vec![(0, 0), (1, 1), (0, 1)];")
        data = self.run_cell('Confusion::of(&["a".to_string(), "b".to_string()], counts)?').result
        self.assertIn("image/svg+xml", data)
        self.assertEqual(self.kernel.run("counts").reply["status"], "error")

    def test_references_show_what_they_refer_to_and_loops_nothing(self):
        self.run_cell("let seen = Tensor::zeros((8, 8), DType::F32, &Device::Cpu)?;")
        self.assertIn("image/svg+xml", self.run_cell("&seen").result)
        self.assertIn("image/svg+xml", self.run_cell("seen").result)
        self.assertIsNone(self.run_cell("for i in 0..2 { println!(\"{i}\"); }").result)

    def test_several_figures_and_text_keep_their_order(self):
        code = 'println!("one"); show(&html("<b>two</b>")); println!("three"); show(&html("<b>four</b>"));'
        cell = self.run_cell(code)
        kinds = [m["msg_type"] for m in cell.messages if m["msg_type"] in ("stream", "display_data")]
        self.assertEqual(kinds, ["stream", "display_data", "stream", "display_data"])
        self.assertEqual([d["data"]["text/html"] for d in cell.of("display_data")], ["<b>two</b>", "<b>four</b>"])

    def test_text_without_an_end_of_line_arrives_while_the_cell_runs(self):
        cell = self.kernel.send('print!("half"); std::thread::sleep(std::time::Duration::from_secs(3)); println!(" whole");')
        times = {}
        for message in self.kernel.messages(cell):
            if message["msg_type"] == "stream":
                times.setdefault(message["content"]["text"], time.monotonic())
        texts = list(times)
        self.assertEqual("".join(texts), "half whole\n")
        self.assertGreater(times[texts[-1]] - times[texts[0]], 1.0)

    def test_clearing_waits_for_the_next_output(self):
        cell = self.run_cell('println!("a"); clear(); println!("b");')
        self.assertEqual(cell.of("clear_output"), [{"wait": True}])

    def test_training_is_live(self):
        cell = self.run_cell("let live_run = " + TRAIN.format(images=512, epochs=2, run="live") + ";")
        updates = [c for c in cell.of("update_display_data") if "image/svg+xml" in c["data"]]
        first = [c for c in cell.of("display_data") if "image/svg+xml" in c["data"]]
        self.assertEqual(len(first), 1)
        self.assertGreater(len(updates), 3)
        self.assertEqual({c["transient"]["display_id"] for c in updates}, {first[0]["transient"]["display_id"]})
        progress = [c["data"]["text/plain"] for c in cell.of("update_display_data") if "text/html" in c["data"]]
        self.assertIn("step 32 of 32", progress[-1])
        data = self.run_cell("live_run").result
        self.assertIn("nano-1d trained for 2 epochs", data["text/plain"])

    def test_an_error_is_an_error_and_variables_are_kept(self):
        self.run_cell("let before = 7;")
        cell = self.kernel.run('let set = ShapesTextures::generate(8, 4, 0, Cue::Both, 1)?;')
        self.assertEqual(cell.reply["status"], "error")
        self.assertEqual(cell.error["ename"], "Error")
        self.assertIn("size: got 8, allowed: at least 32", cell.error["evalue"])
        self.assertEqual(cell.text("stderr"), "")
        self.assertEqual(self.run_cell("before").result["text/plain"].strip(), "7")

    def test_a_panic_is_an_error_and_variables_are_kept(self):
        self.run_cell("let numbers = vec![1, 2, 3];")
        cell = self.kernel.run("let at = numbers.len() + 2; println!(\"{}\", numbers[at]);")
        self.assertEqual((cell.reply["status"], cell.error["ename"]), ("error", "Panic"))
        self.assertIn("the len is 3 but the index is 5", cell.error["evalue"])
        self.assertEqual(self.run_cell("numbers.len()").result["text/plain"].strip(), "3")

    def test_a_caught_panic_is_no_error(self):
        cell = self.run_cell("let caught = std::panic::catch_unwind(|| { panic!(\"on purpose\") }).is_err(); caught")
        self.assertEqual(cell.result["text/plain"].strip(), "true")
        self.assertIn("on purpose", cell.text("stderr"))

    def test_compiler_errors_point_into_the_cell(self):
        cell = self.kernel.run("let a = 1;\nlet b: u32 = \"text\";")
        self.assertEqual((cell.reply["status"], cell.error["ename"]), ("error", "error[E0308]"))
        shown = "\n".join(cell.error["traceback"])
        self.assertIn("line 2", shown)
        self.assertIn('let b: u32 = "text";', shown)
        self.assertIn("^", shown)

    def test_the_cells_after_an_error_are_not_run(self):
        first = self.kernel.send("let nothing: u32 = \"text\";")
        second = self.kernel.send("1 + 1")
        self.assertEqual(self.kernel.reply(first)["status"], "error")
        self.assertEqual(self.kernel.reply(second)["status"], "aborted")
        list(self.kernel.messages(second))

    def test_an_interruption_keeps_the_history(self):
        cell = self.kernel.send("let long = " + TRAIN.format(images=256, epochs=400, run="long") + ";")
        asked = False
        for message in self.kernel.messages(cell):
            content = message["content"]
            if message["msg_type"] == "update_display_data" and "text/html" in content["data"]:
                epochs = content["data"]["text/plain"].count("\n")
                if epochs >= 3 and not asked:
                    self.kernel.manager.interrupt_kernel()
                    asked = True
        self.assertTrue(asked)
        reply = self.kernel.reply(cell)
        self.assertEqual((reply["status"], reply["ename"]), ("error", "Interrupted"))
        cell = self.run_cell("(long.stopped, long.history.points.len() >= 2, interrupted())")
        self.assertEqual(cell.result["text/plain"].strip(), "(true, true, false)")

    def test_an_interruption_while_a_cell_is_compiled_stops_it_at_its_first_step(self):
        cell = self.kernel.send("let early = " + TRAIN.format(images=256, epochs=400, run="early") + ";")
        for message in self.kernel.messages(cell):
            if message["msg_type"] == "execute_input":
                # The cell has begun: its code is being compiled.
                time.sleep(0.2)
                self.kernel.manager.interrupt_kernel()
        reply = self.kernel.reply(cell)
        self.assertEqual((reply["status"], reply["ename"]), ("error", "Interrupted"))
        self.assertEqual(self.run_cell("interrupted()").result["text/plain"].strip(), "false")

    def test_the_second_interruption_ends_the_process(self):
        self.run_cell("let lost = 1;\nfn kept_function() -> i32 { 5 }")
        cell = self.kernel.send('println!("runs"); loop { std::thread::sleep(std::time::Duration::from_millis(10)); }')
        for message in self.kernel.messages(cell):
            if message["msg_type"] == "stream" and message["content"]["name"] == "stdout":
                self.kernel.manager.interrupt_kernel()
                self.kernel.manager.interrupt_kernel()
        reply = self.kernel.reply(cell)
        self.assertEqual((reply["status"], reply["ename"]), ("error", "Interrupted"))
        self.assertEqual(self.run_cell("kept_function()").result["text/plain"].strip(), "5")
        self.assertEqual(self.kernel.run("lost").reply["status"], "error")
        cell = self.kernel.run("panic!(\"again\");")
        self.assertEqual(cell.error["evalue"], "again")

    def test_completion_and_inspection(self):
        self.run_cell("let measured = 1.5f64;")
        reply = self.kernel.client.complete("ShapesText", 10, reply=True, timeout=PATIENCE)["content"]
        self.assertIn("ShapesTextures", reply["matches"])
        self.assertEqual((reply["cursor_start"], reply["cursor_end"]), (0, 10))
        reply = self.kernel.client.complete("let µ = 1; measu", 16, reply=True, timeout=PATIENCE)["content"]
        self.assertIn("measured", reply["matches"])
        self.assertEqual(reply["cursor_start"], 11)
        reply = self.kernel.client.inspect("area_ratios", 11, reply=True, timeout=PATIENCE)["content"]
        self.assertTrue(reply["found"])
        self.assertIn("smallest centered squares", reply["data"]["text/plain"])
        reply = self.kernel.client.inspect("measured", 3, reply=True, timeout=PATIENCE)["content"]
        self.assertIn("f64", reply["data"]["text/plain"])

    def test_background_work_is_shown_between_cells(self):
        code = ('let worker = std::thread::spawn(|| { let mut live = Live::new(); for i in 0..20 { '
                'live.set(&html(&format!("<i>{i}</i>"))); std::thread::sleep(std::time::Duration::from_millis(200)); } });')
        self.run_cell(code)
        seen, end = 0, time.monotonic() + PATIENCE
        while seen < 10 and time.monotonic() < end:
            message = self.kernel.client.get_iopub_msg(timeout=PATIENCE)
            seen += message["msg_type"] == "update_display_data"
        self.assertEqual(seen, 10)

    def test_a_grid_runs_in_the_background(self):
        self.run_cell('let mut table = grid("nano-2d").set("data.source.train", 32).set("data.source.val", 32)'
                      '.set("train.epochs", 1).axis("set.kernel", &[3, 7]).seeds(1).start("grid")?;')
        self.assertEqual(self.run_cell("40 + 2").result["text/plain"].strip(), "42")
        cell = self.run_cell("table.wait()?")
        self.assertIn("kernel 3", cell.result["text/plain"])
        self.assertTrue((Path(self.folder.name) / "grid" / "summary.html").is_file())


class Sessions(unittest.TestCase):
    """Several kernels, and what is left of them."""

    def test_two_kernels_do_not_disturb_each_other_and_leave_nothing(self):
        before = sessions()
        with tempfile.TemporaryDirectory() as folder, Kernel(cwd=folder) as a, Kernel(cwd=folder) as b:
            self.assertEqual(len(sessions() - before), 2)
            first, second = a.send("let x = 1; x"), b.send("let x = 2.5; x")
            for kernel, cell, value in ((a, first, "1"), (b, second, "2.5")):
                results = [m for m in kernel.messages(cell) if m["msg_type"] == "execute_result"]
                self.assertEqual(results[0]["content"]["data"]["text/plain"].strip(), value)
        self.wait_until_only(before)

    def test_a_client_that_is_killed_leaves_nothing(self):
        before = sessions()
        code = "import sys; from client import Kernel; k = Kernel(); print('ready', flush=True); sys.stdin.read()"
        here = Path(__file__).parent
        client = subprocess.Popen([sys.executable, "-c", code], cwd=here, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.assertEqual(client.stdout.readline(), b"ready\n")
        self.assertEqual(len(sessions() - before), 1)
        client.kill()
        client.communicate()
        self.wait_until_only(before)

    def test_types_that_analysis_does_not_read_at_first_are_found(self):
        # The library has these crates below it, of which rust-analyzer reads nothing at first.
        with Kernel() as kernel:
            kernel.run("let kept = 7_usize;")
            lanes = "let lanes = unsafe { std::arch::x86_64::_mm_setzero_ps() };"
            cell = kernel.run(lanes if platform.machine() == "x86_64" else "let lanes = 1;")
            self.assertEqual(cell.reply["status"], "ok", cell.error)
            cell = kernel.run("std::mem::size_of_val(&lanes) + kept")
            self.assertEqual(cell.reply["status"], "ok", cell.error)
        # Its version is the library's, which is there.
        with mock.patch.dict(os.environ, CARGO_NET_OFFLINE="true"), Kernel() as kernel:
            cell = kernel.run(':dep either = "1"\nlet side = either::Either::<i32, f32>::Left(3); let x = side.left().unwrap();')
            self.assertEqual(cell.reply["status"], "ok", cell.error)
            results = kernel.run("x + 1").of("execute_result")
            self.assertEqual(results[0]["data"]["text/plain"].strip(), "4")

    def wait_until_only(self, before):
        end = time.monotonic() + 30
        while sessions() - before and time.monotonic() < end:
            time.sleep(0.2)
        self.assertEqual(sessions() - before, set())

    def test_a_display_of_evcxrs_kind_is_called(self):
        with Kernel() as kernel:
            kernel.run("struct Mine;\nimpl Mine { fn evcxr_display(&self) { show(&html(\"<i>mine</i>\")); } }")
            self.assertEqual(kernel.run("Mine").of("display_data")[0]["data"]["text/html"], "<i>mine</i>")

    def test_kernel_info_is_answered_while_the_session_starts(self):
        with Kernel(wait=False) as kernel:
            self.assertLess(kernel.ready, 10)
            cell = kernel.send("2 + 3")
            messages = list(kernel.messages(cell))
            shown = [m["content"]["data"]["text/plain"] for m in messages if m["msg_type"] == "display_data"]
            self.assertTrue(any("…" in text for text in shown), shown)
            results = [m for m in messages if m["msg_type"] == "execute_result"]
            self.assertEqual(results[0]["content"]["data"]["text/plain"].strip(), "5")


if __name__ == "__main__":
    unittest.main()
