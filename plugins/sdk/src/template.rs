//! Templates such as `user:{id}`: names of store entries made of a row's values. `{{` and `}}` stand for braces.
//!
//! Read once, bound to a table's shape once, and then written for each row without a look-up by name.

use crate::commands::Argument;
use crate::plan::Plan;
use crate::row::{Image, Place, Value};

/// A template as it was written, good for any table that has its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<(String, String)>,
    tail: String,
}

/// What is wrong with a template, and where: a byte of its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError {
    pub message: String,
    pub at: usize,
}

impl Template {
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let error = |at: usize, message: &str| Err(TemplateError { message: message.to_owned(), at });
        let mut template = Self { pieces: Vec::new(), tail: String::new() };
        let mut rest = text.char_indices().peekable();
        while let Some((at, character)) = rest.next() {
            let doubled = rest.peek().is_some_and(|(_, next)| *next == character);
            match character {
                '{' | '}' if doubled => {
                    rest.next();
                    template.tail.push(character);
                }
                '{' => {
                    let Some(len) = text[at..].find('}') else {
                        return error(at, "a `{` without a `}` behind it: write `{{` for the character itself");
                    };
                    let name = &text[at + 1..at + len];
                    if name.is_empty() || name.contains('{') {
                        return error(at, "braces hold a column's name: write `{{` for the character itself");
                    }
                    template.pieces.push((std::mem::take(&mut template.tail), name.to_owned()));
                    while rest.next_if(|(next, _)| *next <= at + len).is_some() {}
                }
                '}' => return error(at, "a `}` without a `{` before it: write `}}` for the character itself"),
                _ => template.tail.push(character),
            }
        }
        Ok(template)
    }

    /// The names of the columns in it, in order, as often as they stand there.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().map(|(_, column)| column.as_str())
    }

    /// The template for the rows of one shape. The columns are added to the plan; the error is the name of one that the shape lacks.
    pub fn bind(&self, plan: &mut Plan<'_>) -> Result<BoundTemplate, String> {
        let piece = |(literal, column): &(String, String)| {
            let place = plan.column(column).ok_or_else(|| column.clone())?;
            Ok((literal.as_bytes().into(), place))
        };
        Ok(BoundTemplate {
            pieces: self.pieces.iter().map(piece).collect::<Result<_, String>>()?,
            tail: self.tail.as_bytes().into(),
        })
    }
}

/// A template for the rows of one shape.
#[derive(Debug)]
pub struct BoundTemplate {
    pieces: Vec<(Box<[u8]>, Place)>,
    tail: Box<[u8]>,
}

/// A template with a row's values, none of which is NULL or absent: an argument.
#[derive(Debug, Clone, Copy)]
pub struct Name<'a> {
    template: &'a BoundTemplate,
    image: Image<'a>,
}

impl BoundTemplate {
    /// The columns in it, in order.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        self.pieces.iter().map(|(_, place)| *place)
    }

    /// The name for a row, or `None` if one of its values is NULL. A value that is absent is an error: the name cannot be known.
    #[inline]
    pub fn name<'a>(&'a self, image: Image<'a>) -> Result<Option<Name<'a>>, String> {
        for (_, place) in &self.pieces {
            match image.get(*place) {
                Value::Null => return Ok(None),
                Value::Absent => return Err(absent(image.name_of(*place))),
                _ => {}
            }
        }
        Ok(Some(Name { template: self, image }))
    }
}

/// Why a row whose value of this column is absent cannot be mapped.
pub fn absent(column: &str) -> String {
    format!("the binlog does not hold `{column}` of this row: the server must write full row images")
}

impl Argument for Name<'_> {
    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        for (literal, place) in &self.template.pieces {
            out.extend_from_slice(literal);
            self.image.get(*place).write(out);
        }
        out.extend_from_slice(&self.template.tail);
    }
}
