//! From a request's JSON to a compiled filter.

use super::{Compare, DEPTH_MAX, Field, FilterError, Node, VALUES_MAX};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

/// Fields that the request's own keys decide.
const RESERVED: [&str; 4] = ["owner_id", "owner_type", "app_id", "project_id"];

/// From here on a number counts milliseconds, below it seconds: 1e12 s is the year 33658. Source: contract B.2.
const MS_FROM: f64 = 1e12;

const TIME_EXPECTED: &str = "a time: seconds or milliseconds since 1970, or an ISO 8601 text";

pub(super) fn filter(filters: &Value, zone: &TimeZone) -> Result<Option<Node>, FilterError> {
    match filters {
        Value::Null => Ok(None),
        Value::Object(map) => Parser { zone, left: VALUES_MAX }.node(map, DEPTH_MAX),
        _ => Err(FilterError::Shape { at: "filters".to_owned(), expected: "an object" }),
    }
}

struct Parser<'a> {
    zone: &'a TimeZone,
    /// Values that may still come.
    left: usize,
}

impl Parser<'_> {
    fn node(&mut self, map: &Map<String, Value>, depth: usize) -> Result<Option<Node>, FilterError> {
        let depth = depth.checked_sub(1).ok_or(FilterError::TooDeep)?;
        let mut parts = Vec::new();
        for (key, value) in map {
            // A null is a key left out, whatever its name, as in EverOS.
            if value.is_null() {
                continue;
            }
            match key.as_str() {
                "AND" => parts.extend(some(self.nodes("AND", value, depth)?, Node::All)),
                "OR" => parts.extend(some(self.nodes("OR", value, depth)?, Node::Any)),
                name if RESERVED.contains(&name) => return Err(FilterError::Reserved { field: name.to_owned() }),
                name => {
                    let field =
                        Field::from_name(name).ok_or_else(|| FilterError::UnknownField { field: name.to_owned() })?;
                    parts.push(self.clause(field, value)?);
                }
            }
        }
        Ok(some(parts, Node::All))
    }

    fn nodes(&mut self, at: &str, value: &Value, depth: usize) -> Result<Vec<Node>, FilterError> {
        let shape = |expected| FilterError::Shape { at: at.to_owned(), expected };
        let list = value.as_array().ok_or_else(|| shape("a list of objects"))?;
        let mut nodes = Vec::new();
        for child in list {
            let map = child.as_object().ok_or_else(|| shape("a list of objects"))?;
            self.take(1)?;
            nodes.extend(self.node(map, depth)?);
        }
        Ok(nodes)
    }

    fn clause(&mut self, field: Field, value: &Value) -> Result<Node, FilterError> {
        let Value::Object(operators) = value else {
            return self.test(field, "eq", value);
        };
        let mut tests = Vec::new();
        for (op, value) in operators {
            tests.push(self.test(field, op, value)?);
        }
        some(tests, Node::All).ok_or_else(|| FilterError::NoOperator { field: field.name().to_owned() })
    }

    fn test(&mut self, field: Field, op: &str, value: &Value) -> Result<Node, FilterError> {
        if op == "in" {
            let list = value.as_array().filter(|list| !list.is_empty());
            let list = list.ok_or_else(|| wrong(field, "a list that is not empty, with `in`"))?;
            self.take(list.len())?;
            return match field {
                Field::Timestamp => {
                    let us = list.iter().map(|value| self.time(value)).collect::<Result<_, _>>()?;
                    Ok(Node::TimeIn { us })
                }
                Field::SenderId => Ok(Node::Sender { ids: texts(field, list)? }),
                Field::SessionId | Field::ParentType | Field::ParentId => {
                    Ok(Node::TextIn { field, values: texts(field, list)? })
                }
            };
        }
        let unknown = || FilterError::UnknownOperator { field: field.name().to_owned(), op: op.to_owned() };
        let compare = compare(op).ok_or_else(unknown)?;
        self.take(1)?;
        match field {
            Field::Timestamp => Ok(Node::Time { op: compare, us: self.time(value)? }),
            Field::SenderId if compare == Compare::Eq => Ok(Node::Sender { ids: vec![text(field, value)?] }),
            Field::SenderId => Err(unknown()),
            Field::SessionId | Field::ParentType | Field::ParentId => {
                Ok(Node::Text { field, op: compare, value: text(field, value)? })
            }
        }
    }

    fn take(&mut self, n_values: usize) -> Result<(), FilterError> {
        self.left = self.left.checked_sub(n_values).ok_or(FilterError::TooLarge)?;
        Ok(())
    }

    /// Reads a time, microseconds since 1970. Fractions of a number are cut off, as EverOS does.
    fn time(&self, value: &Value) -> Result<i64, FilterError> {
        let read = match value {
            Value::Number(number) => number.as_f64().and_then(|number| {
                let whole = number.trunc();
                let us = if whole >= MS_FROM { whole * 1e3 } else { whole * 1e6 };
                // Exact: whole milliseconds of any representable time are below 2^53.
                let us = (us.abs() < 9e18).then_some(us as i64)?;
                Timestamp::from_microsecond(us).ok().map(|_| us)
            }),
            Value::String(text) if !text.contains('\'') => self.iso(text.trim()),
            _ => None,
        };
        read.ok_or_else(|| wrong(Field::Timestamp, TIME_EXPECTED))
    }

    fn iso(&self, text: &str) -> Option<i64> {
        if let Ok(instant) = text.parse::<Timestamp>() {
            return Some(instant.as_microsecond());
        }
        let local: DateTime = text.parse().ok()?;
        Some(self.zone.to_ambiguous_timestamp(local).compatible().ok()?.as_microsecond())
    }
}

/// Wraps several parts; one stands for itself, none for nothing.
fn some(mut parts: Vec<Node>, wrap: fn(Vec<Node>) -> Node) -> Option<Node> {
    match parts.len() {
        0 | 1 => parts.pop(),
        _ => Some(wrap(parts)),
    }
}

fn compare(op: &str) -> Option<Compare> {
    Some(match op {
        "eq" => Compare::Eq,
        "ne" => Compare::Ne,
        "gt" => Compare::Gt,
        "gte" => Compare::Gte,
        "lt" => Compare::Lt,
        "lte" => Compare::Lte,
        _ => return None,
    })
}

fn text(field: Field, value: &Value) -> Result<String, FilterError> {
    value.as_str().map(str::to_owned).ok_or_else(|| wrong(field, "a text"))
}

fn texts(field: Field, values: &[Value]) -> Result<Vec<String>, FilterError> {
    values.iter().map(|value| text(field, value)).collect()
}

fn wrong(field: Field, expected: &'static str) -> FilterError {
    FilterError::Value { field: field.name().to_owned(), expected }
}
