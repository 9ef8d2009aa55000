//! Delivers notices to their receivers, and tells the tower what became of each.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use hmsops_act::channel::mail::{Mail, MailSettings, MailTls};
use hmsops_act::channel::webhook::{Webhook, WebhookSettings};
use hmsops_act::channel::{ChannelError, Message};
use hmsops_config::tower::{self, NotifyConfig, SecretRef};
use hmsops_control::signal::notice::Notice;
use hmsops_control::{Event, NoticeReport};
use hmsops_model::{Millis, NoticeId, Secret};
use tokio::sync::{Semaphore, mpsc};

use crate::Engine;
use crate::clock::Clock;
use crate::secret;

/// Notices under way at a time: a receiver that hangs must not hold up the others.
const SENDING_MAX: usize = 64;

/// Of these by one way out. What finds no place comes again within a second.
const SENDING_MAX_EACH: usize = 16;

/// The ways out that the settings name.
#[derive(Debug, Default)]
pub struct Channels {
    /// For receivers with an `@`.
    pub mail: Option<Mail>,
    /// By name.
    pub webhooks: BTreeMap<String, Webhook>,
}

/// Delivers what comes, each notice by a task of its own, until the tower stops.
pub async fn run(engine: Engine, clock: Clock, channels: Channels, mut notices: mpsc::Receiver<Notice>) {
    let channels = Arc::new(channels);
    let busy: Arc<Mutex<BTreeMap<NoticeId, String>>> = Arc::default();
    let sending = Arc::new(Semaphore::new(SENDING_MAX));
    while let Some(notice) = notices.recv().await {
        // Effects come again until they are true; tasks must not.
        if !busy.lock().is_ok_and(|mut busy| takes(&mut busy, &notice)) {
            continue;
        }
        let (engine, channels, busy, sending) =
            (engine.clone(), channels.clone(), busy.clone(), sending.clone());
        tokio::spawn(async move {
            let Ok(_place) = sending.acquire().await else { return };
            let report = match channels.send(&notice, clock).await {
                Ok(receipt) => NoticeReport::Delivered { receipt },
                Err(error) => NoticeReport::Failed {
                    why: error.why,
                    is_final: error.is_final,
                    retry_after: error.retry_after.map(|after| Millis(after.as_millis() as u64)),
                },
            };
            // A tower that stops before it has written this down delivers once more: at least once.
            let _stopped = engine.submit(Event::Notice { id: notice.id, report }).await;
            if let Ok(mut busy) = busy.lock() {
                busy.remove(&notice.id);
            }
        });
    }
}

/// Whether a notice's turn is now: it is not under way, and its way out is not full.
fn takes(busy: &mut BTreeMap<NoticeId, String>, notice: &Notice) -> bool {
    let way = if notice.receiver.contains('@') { "@" } else { notice.receiver.as_str() };
    let is_full = busy.values().filter(|known| *known == way).count() >= SENDING_MAX_EACH;
    !is_full && !busy.contains_key(&notice.id) && busy.insert(notice.id, way.to_owned()).is_none()
}

impl Channels {
    /// As the settings say; `base` is the folder that paths start at. An error names the setting.
    pub fn open(config: &NotifyConfig, base: &Path) -> Result<Self, String> {
        let mail = config.mail.as_ref().map(|mail| open_mail(mail, base)).transpose()?;
        let open = |(name, webhook): (&String, &tower::WebhookConfig)| {
            Ok((name.clone(), open_webhook(name, webhook, base)?))
        };
        let webhooks = config.webhooks.iter().map(open).collect::<Result<_, String>>()?;
        Ok(Self { mail, webhooks })
    }

    async fn send(&self, notice: &Notice, clock: Clock) -> Result<String, ChannelError> {
        let message = message(notice);
        let missing = |why: String| ChannelError { why, is_final: true, retry_after: None };
        if notice.receiver.contains('@') {
            let mail = self.mail.as_ref();
            let mail = mail.ok_or_else(|| {
                missing("mail is not configured: `notify: {mail: …}` in hmsops.yaml".into())
            })?;
            return mail.send(&notice.receiver, &message).await;
        }
        let webhook = self.webhooks.get(&notice.receiver);
        let webhook = webhook.ok_or_else(|| {
            missing(format!("`{}` is neither a mail address nor a webhook in hmsops.yaml", notice.receiver))
        })?;
        webhook.send(&message, clock.now().wall).await
    }
}

fn open_mail(config: &tower::MailConfig, base: &Path) -> Result<Mail, String> {
    let settings = MailSettings {
        server: config.server.clone(),
        tls: match config.tls {
            tower::MailTls::Required => MailTls::Required,
            tower::MailTls::Implicit => MailTls::Implicit,
            tower::MailTls::None => MailTls::None,
        },
        from: config.from.clone(),
        user: config.user.clone(),
        password: config.password.as_ref().map(|from| secret(from, base)).transpose()?,
        ca_file: config.ca.as_ref().map(|file| base.join(file)),
    };
    Mail::new(&settings).map_err(|error| format!("`notify: mail`: {}", error.why))
}

fn open_webhook(name: &str, config: &tower::WebhookConfig, base: &Path) -> Result<Webhook, String> {
    let secrets = config.secrets.iter().map(|from| secret(from, base)).collect::<Result<_, String>>()?;
    let ca_file = config.ca.as_ref().map(|file| base.join(file));
    let allow_private = config.allow_private.clone();
    let settings = WebhookSettings { url: config.url.clone(), secrets, allow_private, ca_file };
    Webhook::new(&settings).map_err(|error| format!("`notify: webhooks: {name}`: {}", error.why))
}

/// The secret itself, which is never part of a configuration.
pub(crate) fn secret(from: &SecretRef, base: &Path) -> Result<Secret, String> {
    secret::read(from, base).map_err(|error| error.to_string())
}

fn message(notice: &Notice) -> Message {
    let json = serde_json::json!({
        "id": notice.id,
        "about": notice.about.words(),
        "occasion": notice.occasion,
        "subject": notice.subject,
        "text": notice.text,
    });
    Message {
        key: format!("{}-{}", notice.id, notice.intended_at.wall.0),
        subject: notice.subject.clone(),
        text: notice.text.clone(),
        json,
        at: notice.intended_at.wall,
    }
}
