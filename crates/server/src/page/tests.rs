use super::scene::{Scene, look, name, scenes};
use super::*;
use hmsops_model::ReleaseId;

/// All pages of one look, by file name. Style sheets stand in the pages, so that a file shows what a door does.
fn pages(scene: &Scene, look: &Look<'_>) -> Vec<(String, String)> {
    let mut pages = vec![
        ("home".to_owned(), home(look)),
        ("releases".to_owned(), releases(look)),
        ("status".to_owned(), status(look)),
        ("login".to_owned(), login(Some("that link was used already"))),
    ];
    let mut newest = scene.entries.clone();
    newest.reverse();
    pages.push(("audit".to_owned(), audit(look, AuditPage { entries: &newest, older: Some(3), newest: true })));
    for id in look.view.state.releases.keys() {
        let of = Some(id.to_string());
        let lines: Vec<_> = scene.entries.iter().filter(|entry| entry.release == of).cloned().collect();
        pages.push((format!("release-{id}"), release(look, *id, &lines).unwrap()));
        for verb in Verb::ALL {
            pages.extend(action(look, *id, verb, None).map(|page| (format!("{}-{id}", verb.as_str()), page)));
        }
    }
    for service_name in look.view.state.services.keys().take(2) {
        pages.push((format!("service-{service_name}"), service(look, service_name).unwrap()));
    }
    pages
}

/// With `HMSOPS_PAGES_DIR` set, all scenes are written there as files to look at.
#[test]
#[expect(clippy::disallowed_methods, reason = "pages for a person's eyes, in a folder that they name")]
fn pages_can_be_looked_at() {
    let Some(dir) = std::env::var_os("HMSOPS_PAGES_DIR").map(std::path::PathBuf::from) else { return };
    for (scene_name, scene) in scenes() {
        let view = scene.snapshot();
        let look = look(&view, 400);
        for (page_name, page) in pages(&scene, &look) {
            let alone = page.replace(&frame::sheet().into_markup(), &format!("<style>{}</style>", style::CSS));
            std::fs::write(dir.join(format!("{scene_name}-{page_name}.html")), alone).unwrap();
        }
        std::fs::write(dir.join(format!("{scene_name}.atom")), status_atom(&look, "http://localhost:3000")).unwrap();
        if let Some(badge) = badge_svg(&look, &name("csac-portal")) {
            std::fs::write(dir.join(format!("{scene_name}.svg")), badge).unwrap();
        }
    }
}
