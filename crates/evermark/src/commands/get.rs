//! `evermark get`.

use super::search::filters;
use crate::cli::{GetArgs, KindArg};
use crate::exit::Exit;
use crate::output::Out;
use crate::session::Session;
use crate::view;
use evermark_server::api::GetBody;
use evermark_server::api::get::{MemoryType, SortBy, SortOrder};

pub(crate) fn run(args: &GetArgs, session: &Session, out: &mut Out) -> anyhow::Result<Exit> {
    session.freshen();
    let usual = if args.owner.agent.is_some() { KindArg::AgentCase } else { KindArg::Episode };
    let data = session.get(&GetBody {
        user_id: args.owner.user.clone(),
        agent_id: args.owner.agent.clone(),
        app_id: args.scope.app.clone(),
        project_id: args.scope.project.clone(),
        memory_type: match args.kind.unwrap_or(usual) {
            KindArg::Episode => MemoryType::Episode,
            KindArg::Profile => MemoryType::Profile,
            KindArg::AgentCase => MemoryType::AgentCase,
            KindArg::AgentSkill => MemoryType::AgentSkill,
        },
        page: u64::from(args.page),
        page_size: u64::from(args.page_size),
        sort_by: SortBy::Timestamp,
        sort_order: if args.oldest { SortOrder::Asc } else { SortOrder::Desc },
        filters: filters(args.filter.as_deref(), None)?,
    })?;
    if out.json {
        out.document(&data);
    } else {
        view::page(&data, u64::from(args.page), u64::from(args.page_size), out);
    }
    Ok(Exit::Ok)
}
