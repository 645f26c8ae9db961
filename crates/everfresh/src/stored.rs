//! What an edge keeps on disk, for people who want to see that a purged object's bytes are gone.

use crate::args::StoredArgs;
use anyhow::Context;
use edge::{DirectoryListing, StoredFile, StoredSlices};
use purge::UrlTarget;
use serde_json::json;
use std::io::Write;

/// Prints the stored responses and a summary.
pub(crate) fn run(args: &StoredArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let wanted = match &args.url {
        Some(url) => {
            // As the list prints it, or as a browser does.
            let whole = if url.contains("://") { url.clone() } else { format!("http://{url}") };
            let key = UrlTarget::parse(&whole).with_context(|| format!("--url {url}"))?.url;
            Some(format!("{}{}", key.host(), key.path_and_query()))
        }
        None => None,
    };
    let mut listing = edge::list_directory(&args.directory)?;
    listing.files.retain(|file| wanted.as_ref().is_none_or(|wanted| *wanted == file.url));
    listing.files.sort_by(|a, b| (&a.url, a.born).cmp(&(&b.url, b.born)));
    if args.json {
        print_json(&listing, out)?
    } else {
        print_text(&listing, wanted.as_deref(), out)?
    }
    Ok(())
}

fn print_text(listing: &DirectoryListing, wanted: Option<&str>, out: &mut impl Write) -> std::io::Result<()> {
    for StoredFile { url, born, invalidated, tags, content_bytes, slices, .. } in &listing.files {
        let slices = match slices {
            Some(StoredSlices { count, of: Some(of), .. }) => format!(" slices={count}/{of}"),
            Some(StoredSlices { count, of: None, .. }) => format!(" lost-slices={count}"),
            None => String::new(),
        };
        let stale = invalidated.map(|seq| format!(" stale-by={seq}")).unwrap_or_default();
        let tags = if tags.is_empty() { String::new() } else { format!(" tags={tags}") };
        writeln!(out, "{url} bytes={content_bytes}{slices} born={born}{stale}{tags}")?;
    }
    let (count, bytes) = total(listing);
    match wanted {
        Some(url) if count == 0 => writeln!(out, "nothing of {url} is stored here")?,
        _ => writeln!(out, "{count} responses in files of {bytes} bytes")?,
    }
    if listing.broken > 0 {
        writeln!(out, "{} damaged files, which are never served", listing.broken)?;
    }
    let DirectoryListing { applied, swept_to, marks, free_bytes, .. } = listing;
    writeln!(out, "{free_bytes} bytes are free in the file system")?;
    writeln!(
        out,
        "recorded: purges up to {applied} are known, those up to {swept_to} have left the disk, {marks} marks are outstanding"
    )
}

fn print_json(listing: &DirectoryListing, out: &mut impl Write) -> std::io::Result<()> {
    for file in &listing.files {
        let slices = file
            .slices
            .map(|slices| json!({ "count": slices.count, "of": slices.of, "bytes": slices.bytes }));
        let line = json!({
            "slices": slices,
            "url": file.url,
            "bytes": file.content_bytes,
            "file_bytes": file.file_bytes,
            "born": file.born.number(),
            "stale_by": file.invalidated.map(purge::PurgeSeq::number),
            "tags": file.tags.split(',').filter(|tag| !tag.is_empty()).collect::<Vec<_>>(),
        });
        writeln!(out, "{line}")?;
    }
    let (count, bytes) = total(listing);
    let line = json!({
        "responses": count,
        "file_bytes": bytes,
        "damaged": listing.broken,
        "free_bytes": listing.free_bytes,
        "epoch": listing.epoch.map(|epoch| epoch.to_string()),
        "applied": listing.applied.number(),
        "swept_to": listing.swept_to.number(),
        "marks": listing.marks,
    });
    writeln!(out, "{line}")
}

fn total(listing: &DirectoryListing) -> (usize, u64) {
    (listing.files.len(), listing.files.iter().map(|file| file.file_bytes).sum())
}
