//! Jupyter's messaging protocol: what clients ask, answered by the session.
//!
//! `kernel_info_request` and everything on the control channel are answered at once; what needs the session waits for it
//! in a queue, in order. While the session is still being prepared, the first waiting cell shows what goes on.

use crate::answers::{completeness, completions, kernel_info, path_at};
use crate::errors::Failure;
use crate::exec::STACK;
use crate::frames::Frame;
use crate::places::{self, SessionFolder};
use crate::prepare::Prepared;
use crate::session::{Interrupter, Interruption, Outcome, Session};
use crate::{Error, Result};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use jupyter_protocol::messaging::{ExecuteRequest, JupyterMessage, JupyterMessageContent as Content};
use jupyter_zmq_client as zmq;
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Name of the display that tells what goes on before the session is ready.
const WARM_UP: &str = "kernelscope-warm-up";
/// Set by clients with which the kernel shall end.
#[cfg(unix)]
const PARENT: &str = "JPY_PARENT_PID";

/// Serves until a client asks to shut down.
pub fn run(connection: &Path, folder: SessionFolder) -> Result<ExitCode> {
    let text = std::fs::read_to_string(connection).map_err(Error::io("read", connection))?;
    let info: zmq::ConnectionInfo = serde_json::from_str(&text)
        .map_err(|e| Error::Other(format!("{} is not a connection file: {e}", connection.display())))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(Error::io("start", Path::new("tokio")))?.block_on(serve(&info, folder))
}

/// What the tasks share.
struct Shared {
    iopub: UnboundedSender<JupyterMessage>,
    shell: UnboundedSender<JupyterMessage>,
    /// The request whose outputs are being sent.
    parent: Mutex<Option<JupyterMessage>>,
    interrupter: Mutex<Option<Interrupter>>,
    ready: AtomicBool,
    warm_up: Mutex<WarmUp>,
    count: AtomicUsize,
    folder: Mutex<Option<SessionFolder>>,
}

#[derive(Default)]
struct WarmUp {
    state: String,
    /// The first cell that waits.
    waiting: Option<JupyterMessage>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Sends a message to everybody.
    fn publish(&self, kind: &str, content: Value, parent: Option<&JupyterMessage>) {
        if let Ok(content) = Content::from_type_and_content(kind, content) {
            let topic = format!("kernelscope.{kind}").into_bytes().into();
            // The receiver is gone only when the kernel ends.
            let _ = self.iopub.send(JupyterMessage::new(content, parent).with_zmq_identities(vec![topic]));
        }
    }

    fn reply(&self, kind: &str, content: Value, parent: &JupyterMessage) {
        if let Ok(content) = Content::from_type_and_content(kind, content) {
            let _ = self.shell.send(JupyterMessage::new(content, Some(parent)));
        }
    }

    fn status(&self, state: &str, parent: &JupyterMessage) {
        self.publish("status", json!({ "execution_state": state }), Some(parent));
    }

    fn show(&self, frame: Frame) {
        let parent = locked(&self.parent).clone();
        let (kind, content) = match frame {
            Frame::Stream { name, text } => ("stream", json!({ "name": name, "text": text })),
            Frame::Display { data, id, update } => {
                let transient = id.map_or(json!({}), |id| json!({ "display_id": id }));
                let kind = if update { "update_display_data" } else { "display_data" };
                (kind, json!({ "data": data, "metadata": {}, "transient": transient }))
            }
            Frame::Result { data } => {
                let count = self.count.load(Ordering::SeqCst);
                ("execute_result", json!({ "execution_count": count, "data": data, "metadata": {} }))
            }
            Frame::Clear { wait } => ("clear_output", json!({ "wait": wait })),
            Frame::Panic { .. } | Frame::Failed { .. } | Frame::Complete => return,
        };
        self.publish(kind, content, parent.as_ref());
    }

    /// Tells the first waiting cell what goes on.
    fn show_warm_up(&self, update: bool) {
        let warm_up = locked(&self.warm_up);
        let Some(waiting) = &warm_up.waiting else { return };
        let kind = if update { "update_display_data" } else { "display_data" };
        let text = format!("{} …", warm_up.state);
        let data = json!({ "data": { "text/plain": text }, "metadata": {}, "transient": { "display_id": WARM_UP } });
        self.publish(kind, data, Some(waiting));
    }

    /// Ends the kernel: no process and no file of it stays.
    fn end(&self) -> ! {
        if let Some(interrupter) = locked(&self.interrupter).take() {
            interrupter.kill();
        }
        drop(locked(&self.folder).take());
        std::process::exit(0)
    }
}

/// What waits for the session.
enum Work {
    Execute(JupyterMessage, ExecuteRequest),
    Other(JupyterMessage),
}

async fn serve(info: &zmq::ConnectionInfo, folder: SessionFolder) -> Result<ExitCode> {
    let session_id = format!("kernelscope-{}", std::process::id());
    let iopub = zmq::create_kernel_iopub_connection(info, &session_id).await?;
    let shell = zmq::create_kernel_shell_connection(info, &session_id).await?;
    let mut control = zmq::create_kernel_control_connection(info, &session_id).await?;
    // Cells do not ask for input, but clients connect.
    let _stdin = zmq::create_kernel_stdin_connection(info, &session_id).await?;
    let mut heartbeat = zmq::create_kernel_heartbeat_connection(info).await?;
    tokio::spawn(async move { while heartbeat.single_heartbeat().await.is_ok() {} });

    let (iopub_sender, iopub_queue) = unbounded_channel();
    tokio::spawn(send_all(iopub, iopub_queue));
    let (shell_out, mut shell_in) = shell.split();
    let (shell_sender, shell_queue) = unbounded_channel();
    tokio::spawn(send_all(shell_out, shell_queue));

    let shared = Arc::new(Shared {
        iopub: iopub_sender,
        shell: shell_sender,
        parent: Mutex::default(),
        interrupter: Mutex::default(),
        ready: AtomicBool::new(false),
        warm_up: Mutex::default(),
        count: AtomicUsize::new(0),
        folder: Mutex::new(Some(folder)),
    });
    let on_signal = shared.clone();
    // Without a handler the folder is left for the next session to remove.
    let _ = ctrlc::set_handler(move || on_signal.end());
    tokio::spawn(end_with_parent(shared.clone()));
    shared.publish("status", json!({ "execution_state": "starting" }), None);
    let (work, queue) = unbounded();
    let worker = shared.clone();
    let thread = std::thread::Builder::new().name("session".into()).stack_size(STACK);
    thread.spawn(move || work_on(&worker, &queue)).map_err(Error::io("start", Path::new("a thread")))?;

    let on_shell_channel = shared.clone();
    tokio::spawn(async move {
        loop {
            match shell_in.read().await {
                Ok(message) => on_shell(&on_shell_channel, message, &work),
                Err(error) => ignored(&error).await,
            }
        }
    });
    loop {
        let message = match control.read().await {
            Ok(message) => message,
            Err(error) => {
                ignored(&error).await;
                continue;
            }
        };
        let Some(reply) = on_control(&shared, &message) else { continue };
        let last = matches!(reply.content, Content::ShutdownReply(_));
        control.send(reply).await?;
        shared.status("idle", &message);
        if last {
            // What is in the queues is small; clients do not wait for more.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            shared.end();
        }
    }
}

/// Ends the kernel when the client that started it is gone without a word.
async fn end_with_parent(shared: Arc<Shared>) {
    #[cfg(unix)]
    if std::env::var_os(PARENT).is_some() {
        let parent = rustix::process::getppid();
        while rustix::process::getppid() == parent {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
        shared.end();
    }
}

/// Says that a message was of no use. A channel that is broken for good must not keep a core busy.
async fn ignored(error: &zmq::RuntimeError) {
    eprintln!("kernelscope-jupyter: a message was ignored: {error}");
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
}

async fn send_all<S>(mut connection: zmq::Connection<S>, mut queue: UnboundedReceiver<JupyterMessage>)
where
    zmq::Connection<S>: SendMessage,
{
    while let Some(message) = queue.recv().await {
        if let Err(error) = connection.send_message(message).await {
            eprintln!("kernelscope-jupyter: a message could not be sent: {error}");
        }
    }
}

/// Sending, for the two kinds of sockets that have a queue.
trait SendMessage {
    /// Sends one message.
    fn send_message(
        &mut self,
        message: JupyterMessage,
    ) -> impl Future<Output = std::result::Result<(), zmq::RuntimeError>> + Send;
}

impl SendMessage for zmq::KernelIoPubConnection {
    async fn send_message(&mut self, message: JupyterMessage) -> std::result::Result<(), zmq::RuntimeError> {
        self.send(message).await
    }
}

impl SendMessage for zmq::RouterSendConnection {
    async fn send_message(&mut self, message: JupyterMessage) -> std::result::Result<(), zmq::RuntimeError> {
        self.send(message).await
    }
}

fn on_shell(shared: &Arc<Shared>, message: JupyterMessage, work: &Sender<Work>) {
    let immediate = match &message.content {
        Content::KernelInfoRequest(_) => Some(("kernel_info_reply", kernel_info())),
        Content::CommInfoRequest(_) => Some(("comm_info_reply", json!({ "status": "ok", "comms": {} }))),
        Content::HistoryRequest(_) => Some(("history_reply", json!({ "status": "ok", "history": [] }))),
        Content::IsCompleteRequest(request) => Some(("is_complete_reply", completeness(&request.code))),
        _ => None,
    };
    if let Some((kind, content)) = immediate {
        shared.status("busy", &message);
        shared.reply(kind, content, &message);
        shared.status("idle", &message);
        return;
    }
    let queued = match &message.content {
        Content::ExecuteRequest(request) => {
            if !shared.ready.load(Ordering::SeqCst) && locked(&shared.warm_up).waiting.is_none() {
                shared.status("busy", &message);
                locked(&shared.warm_up).waiting = Some(message.clone());
                shared.show_warm_up(false);
            }
            Work::Execute(message.clone(), request.clone())
        }
        Content::CompleteRequest(_) | Content::InspectRequest(_) => Work::Other(message),
        // Comms belong to widgets, which there are none of.
        _ => return,
    };
    let _ = work.send(queued);
}

fn on_control(shared: &Shared, message: &JupyterMessage) -> Option<JupyterMessage> {
    let content = match &message.content {
        Content::KernelInfoRequest(_) => ("kernel_info_reply", kernel_info()),
        Content::InterruptRequest(_) => {
            let what = locked(&shared.interrupter).as_ref().map(Interrupter::interrupt);
            if what == Some(Interruption::Asked) {
                let text = "Training and analyses stop after their current step. Interrupt again to end the process, \
                    which loses its variables.\n";
                shared.show(Frame::stream("stderr", text));
            }
            ("interrupt_reply", json!({ "status": "ok" }))
        }
        Content::ShutdownRequest(request) => ("shutdown_reply", json!({ "status": "ok", "restart": request.restart })),
        _ => return None,
    };
    shared.status("busy", message);
    let content = Content::from_type_and_content(content.0, content.1).ok()?;
    Some(JupyterMessage::new(content, Some(message)))
}

/// The session's thread: starts it, then does the work in order.
fn work_on(shared: &Arc<Shared>, queue: &Receiver<Work>) {
    let (visible, frames) = unbounded::<Frame>();
    let (flushed, wait_flushed) = bounded::<()>(1);
    let publisher = shared.clone();
    let publish = move || {
        for frame in frames {
            let last = frame == Frame::Complete;
            publisher.show(frame);
            if last && flushed.send(()).is_err() {
                break;
            }
        }
    };
    if std::thread::Builder::new().name("publisher".into()).spawn(publish).is_err() {
        return;
    }
    let started = start(shared, visible.clone());
    if locked(&shared.warm_up).waiting.is_some() {
        let parent = locked(&shared.warm_up).waiting.take();
        shared.publish("clear_output", json!({ "wait": false }), parent.as_ref());
    }
    shared.ready.store(true, Ordering::SeqCst);
    // Also where the session could not start: every cell then says why.
    let mut session = started.map_err(|error| Failure::new("Error", &error.to_string()));
    let flush = || {
        if visible.send(Frame::Complete).is_ok() {
            let _ = wait_flushed.recv();
        }
    };
    while let Ok(work) = queue.recv() {
        match work {
            Work::Execute(message, request) => {
                // Cells that were sent before one failed are not run; those sent after its reply are.
                for work in execute(shared, &mut session, &message, &request, queue, &flush) {
                    match work {
                        Work::Execute(message, _) => abort(shared, &message),
                        Work::Other(message) => answer(shared, &mut session, &message),
                    }
                }
            }
            Work::Other(message) => answer(shared, &mut session, &message),
        }
    }
}

fn start(shared: &Arc<Shared>, visible: Sender<Frame>) -> Result<Session> {
    let (root, cache) = (places::source_root()?, places::cache_root()?);
    let progress = |text: &str| {
        locked(&shared.warm_up).state = text.to_string();
        shared.show_warm_up(true);
    };
    let prepared = Prepared::new(&root, &cache);
    // It is taken out only when the kernel ends, and that may be now.
    let path = locked(&shared.folder).as_ref().map(|folder| folder.path().to_path_buf());
    let path = path.ok_or_else(|| Error::Other("the kernel ends".into()))?;
    let session = Session::start(&path, &prepared, visible, &progress)?;
    *locked(&shared.interrupter) = Some(session.interrupter());
    Ok(session)
}

/// Runs a cell. If it fails, this is what was waiting behind it.
fn execute(
    shared: &Shared,
    session: &mut std::result::Result<Session, Failure>,
    message: &JupyterMessage,
    request: &ExecuteRequest,
    queue: &Receiver<Work>,
    flush: &dyn Fn(),
) -> Vec<Work> {
    *locked(&shared.parent) = Some(message.clone());
    shared.status("busy", message);
    let counted = !request.silent && request.store_history;
    let count =
        if counted { shared.count.fetch_add(1, Ordering::SeqCst) + 1 } else { shared.count.load(Ordering::SeqCst) };
    if !request.silent {
        shared.publish("execute_input", json!({ "code": request.code, "execution_count": count }), Some(message));
    }
    let outcome = match session {
        Ok(session) if !request.code.trim().is_empty() => session.execute(&request.code),
        Ok(_) => Outcome::Ok(None),
        Err(failure) => Outcome::Failed(failure.clone()),
    };
    flush();
    let (reply, waiting) = match outcome {
        Outcome::Ok(value) => {
            if let Some(data) = value {
                shared.show(Frame::Result { data });
            }
            (json!({ "status": "ok", "execution_count": count, "payload": [], "user_expressions": {} }), Vec::new())
        }
        Outcome::Failed(Failure { name, value, traceback }) => {
            let mut error = json!({ "ename": name, "evalue": value, "traceback": traceback });
            shared.publish("error", error.clone(), Some(message));
            error["status"] = "error".into();
            error["execution_count"] = count.into();
            (error, if request.stop_on_error { queue.try_iter().collect() } else { Vec::new() })
        }
    };
    shared.reply("execute_reply", reply, message);
    shared.status("idle", message);
    waiting
}

fn abort(shared: &Shared, message: &JupyterMessage) {
    shared.status("busy", message);
    let count = shared.count.load(Ordering::SeqCst);
    shared.reply("execute_reply", json!({ "status": "aborted", "execution_count": count }), message);
    shared.status("idle", message);
}

fn answer(shared: &Shared, session: &mut std::result::Result<Session, Failure>, message: &JupyterMessage) {
    shared.status("busy", message);
    let (kind, content) = match &message.content {
        Content::CompleteRequest(request) => {
            ("complete_reply", completions(session, &request.code, request.cursor_pos))
        }
        Content::InspectRequest(request) => {
            let path = path_at(&request.code, request.cursor_pos);
            let data = session.as_mut().ok().filter(|_| !path.is_empty()).and_then(|s| s.inspect(&path));
            let found = data.is_some();
            let data = data.unwrap_or_default();
            ("inspect_reply", json!({ "status": "ok", "found": found, "data": data, "metadata": {} }))
        }
        _ => return,
    };
    shared.reply(kind, content, message);
    shared.status("idle", message);
}
