//! `evermark search`.

use crate::cli::{SearchArgs, SearchMethodArg};
use crate::exit::{Exit, Failure};
use crate::output::Out;
use crate::session::Session;
use crate::view;
use evermark_server::api::{MethodName, SearchBody};
use serde_json::{Value, json};

pub(crate) fn run(args: &SearchArgs, session: &Session, out: &mut Out) -> anyhow::Result<Exit> {
    session.freshen();
    let data = session.search(&SearchBody {
        user_id: args.owner.user.clone(),
        agent_id: args.owner.agent.clone(),
        app_id: args.scope.app.clone(),
        project_id: args.scope.project.clone(),
        query: args.query.clone(),
        method: args.method.map(|method| match method {
            SearchMethodArg::Keyword => MethodName::Keyword,
            SearchMethodArg::Vector => MethodName::Vector,
            SearchMethodArg::Hybrid => MethodName::Hybrid,
            SearchMethodArg::Agentic => MethodName::Agentic,
            SearchMethodArg::LlmMultiround => MethodName::LlmMultiround,
        }),
        top_k: i64::from(args.top_k),
        radius: args.radius,
        min_score: args.min_score,
        include_profile: args.profile,
        enable_llm_rerank: args.llm_rerank,
        rerank: args.rerank,
        filters: filters(args.filter.as_deref(), args.session.as_deref())?,
        explain: args.explain,
        why_not: args.why_not.clone(),
        deadline_ms: args.deadline_ms.map(i64::from),
    })?;
    if out.json {
        out.document(&data);
    } else {
        view::search(&data, out);
    }
    Ok(Exit::Ok)
}

/// Returns the filter object of `--filter` and `--session`: both must hold.
pub(super) fn filters(filter: Option<&str>, session: Option<&str>) -> anyhow::Result<Option<Value>> {
    let filter = filter.map(|text| match serde_json::from_str(text) {
        Ok(Value::Object(filter)) => Ok(filter),
        Ok(_) => Err(Failure::new(Exit::Usage, "--filter takes a JSON object")),
        Err(error) => Err(Failure::new(Exit::Usage, format!("--filter is not JSON: {error}"))),
    });
    let filter = filter.transpose()?;
    Ok(match (filter, session) {
        (None, None) => None,
        (Some(filter), None) => Some(Value::Object(filter)),
        // At the top level it also brings the session's messages that still wait.
        (None, Some(session)) => Some(json!({ "session_id": session })),
        (Some(filter), Some(session)) => Some(json!({ "session_id": session, "AND": [filter] })),
    })
}
