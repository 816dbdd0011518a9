//! Parquet output: zstd pages, statistics, row groups of at most 65,536 rows or about 16 MiB.
//!
//! Rows are gathered into small batches of columns; the writer encodes each at once, so memory holds one batch and the
//! encoded pages of one row group.
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::{Compression, ZstdLevel};
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use arrow_array::builder::{
    BooleanBuilder, Decimal128Builder, Float32Builder, Float64Builder, Int64Builder, ListBuilder,
    StringBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema};

use super::file::OutputFile;
use super::text::{Plain, plain, scalar};
use super::{Column, ColumnType, SinkError, Value, misfit};

const BATCH_ROWS: usize = 1_024;
const BATCH_BYTES: usize = 1 << 20;
const GROUP_ROWS: usize = 65_536;
const GROUP_BYTES: usize = 16 << 20;
const DECIMAL_DIGITS: u8 = 18;
const DECIMAL_SCALE: i8 = 9;

#[derive(Debug)]
pub(crate) struct ParquetSink {
    writer: ArrowWriter<OutputFile>,
    path: std::path::PathBuf,
    schema: Arc<Schema>,
    columns: Vec<Column>,
    builders: Vec<Builder>,
    /// Rows and (roughly) bytes in `builders`.
    rows: usize,
    bytes: usize,
    scratch: Vec<u8>,
}

#[derive(Debug)]
enum Builder {
    Text(StringBuilder),
    Int(Int64Builder),
    Float(Float64Builder),
    Bool(BooleanBuilder),
    Vector(ListBuilder<Float32Builder>),
    Decimal(Decimal128Builder),
}

impl ParquetSink {
    pub(crate) fn new(file: OutputFile, columns: &[Column]) -> Result<Self, SinkError> {
        let path = file.path.clone();
        let fields = columns.iter().map(|column| Field::new(&column.name, data_type(column.kind), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_max_row_group_bytes(Some(GROUP_BYTES))
            .set_created_by(concat!("bulkrate ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties))
            .map_err(|error| failed(&path, error))?;
        let builders = columns.iter().map(|column| Builder::new(column.kind)).collect();
        let columns = columns.to_vec();
        Ok(Self { writer, path, schema, columns, builders, rows: 0, bytes: 0, scratch: Vec::new() })
    }

    pub(crate) fn write(&mut self, row: u64, values: &[Value<'_>]) -> Result<(), SinkError> {
        for ((column, builder), value) in self.columns.iter().zip(&mut self.builders).zip(values) {
            let bytes = builder.push(column, value, &mut self.scratch);
            self.bytes += bytes.map_err(|what| SinkError::BadRow { row, what })?;
        }
        self.rows += 1;
        if self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES { self.drain() } else { Ok(()) }
    }

    fn drain(&mut self) -> Result<(), SinkError> {
        if self.rows == 0 {
            return Ok(());
        }
        (self.rows, self.bytes) = (0, 0);
        let arrays = self.builders.iter_mut().map(Builder::finish).collect();
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays)
            .map_err(|error| SinkError::Parquet { path: self.path.clone(), what: error.to_string() })?;
        self.writer.write(&batch).map_err(|error| failed(&self.path, error))?;
        if self.writer.in_progress_size() >= GROUP_BYTES {
            self.writer.flush().map_err(|error| failed(&self.path, error))?;
        }
        Ok(())
    }

    /// Bytes that have left the buffers.
    pub(crate) fn bytes(&self) -> u64 {
        self.writer.inner().bytes
    }

    pub(crate) fn finish(mut self) -> Result<u64, SinkError> {
        self.drain()?;
        self.writer.finish().map_err(|error| failed(&self.path, error))?;
        self.writer.inner_mut().commit()
    }
}

fn failed(path: &std::path::Path, error: ParquetError) -> SinkError {
    let what = error.to_string();
    if let ParquetError::External(inner) = error
        && let Ok(source) = inner.downcast::<std::io::Error>()
    {
        return SinkError::io(path, "write", *source);
    }
    SinkError::Parquet { path: path.into(), what }
}

fn data_type(kind: ColumnType) -> DataType {
    match kind {
        ColumnType::Text | ColumnType::Json => DataType::Utf8,
        ColumnType::Int => DataType::Int64,
        ColumnType::Float => DataType::Float64,
        ColumnType::Bool => DataType::Boolean,
        ColumnType::Vector => DataType::List(Arc::new(Field::new("element", DataType::Float32, true))),
        ColumnType::Decimal9 => DataType::Decimal128(DECIMAL_DIGITS, DECIMAL_SCALE),
    }
}

impl Builder {
    fn new(kind: ColumnType) -> Self {
        match (kind, data_type(kind)) {
            (ColumnType::Text | ColumnType::Json, _) => Self::Text(StringBuilder::new()),
            (ColumnType::Int, _) => Self::Int(Int64Builder::new()),
            (ColumnType::Float, _) => Self::Float(Float64Builder::new()),
            (ColumnType::Bool, _) => Self::Bool(BooleanBuilder::new()),
            (ColumnType::Vector, DataType::List(field)) => {
                Self::Vector(ListBuilder::new(Float32Builder::new()).with_field(field))
            }
            (_, kind) => Self::Decimal(Decimal128Builder::new().with_data_type(kind)),
        }
    }

    /// Appends a value; returns its size in bytes.
    fn push(&mut self, column: &Column, value: &Value<'_>, scratch: &mut Vec<u8>) -> Result<usize, String> {
        match (self, value) {
            (Self::Text(builder), Value::Null) => builder.append_null(),
            (Self::Text(builder), _) => return push_text(builder, column, value, scratch),
            (Self::Int(builder), Value::Null) => builder.append_null(),
            (Self::Int(builder), Value::Int(number)) => builder.append_value(*number),
            (Self::Float(builder), Value::Null) => builder.append_null(),
            (Self::Float(builder), Value::Float(number)) => builder.append_value(*number),
            #[expect(clippy::cast_precision_loss, reason = "a float column shows the nearest float")]
            (Self::Float(builder), Value::Int(number)) => builder.append_value(*number as f64),
            (Self::Bool(builder), Value::Null) => builder.append_null(),
            (Self::Bool(builder), Value::Bool(flag)) => builder.append_value(*flag),
            (Self::Vector(builder), Value::Null) => builder.append_null(),
            (Self::Vector(builder), Value::Vector(numbers)) => {
                builder.values().append_slice(numbers);
                builder.append(true);
                return Ok(numbers.len() * 4);
            }
            (Self::Decimal(builder), Value::Null) => builder.append_null(),
            (Self::Decimal(builder), Value::Int(nanos)) => {
                if nanos.unsigned_abs() >= 10_u64.pow(DECIMAL_DIGITS.into()) {
                    return Err(format!("column `{}`: more than 18 digits of money", column.name));
                }
                builder.append_value(i128::from(*nanos));
            }
            _ => return Err(misfit(column, value)),
        }
        Ok(8)
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Int(builder) => Arc::new(builder.finish()),
            Self::Float(builder) => Arc::new(builder.finish()),
            Self::Bool(builder) => Arc::new(builder.finish()),
            Self::Vector(builder) => Arc::new(builder.finish()),
            Self::Decimal(builder) => Arc::new(builder.finish()),
        }
    }
}

fn push_text(
    builder: &mut StringBuilder,
    column: &Column,
    value: &Value<'_>,
    scratch: &mut Vec<u8>,
) -> Result<usize, String> {
    let plain = match value {
        Value::Json(text) if column.kind == ColumnType::Json => plain(text, column)?,
        _ => Plain::Other,
    };
    scratch.clear();
    let text = match (&plain, value) {
        (Plain::Null, _) => {
            builder.append_null();
            return Ok(4);
        }
        (Plain::Text(text), _) => text.as_ref(),
        (Plain::Other, Value::Text(text) | Value::Json(text)) => text,
        (Plain::Other, Value::Vector(_)) if column.kind != ColumnType::Json => {
            return Err(misfit(column, value));
        }
        (Plain::Other, _) => {
            scalar(value, scratch);
            std::str::from_utf8(scratch).unwrap_or_default()
        }
    };
    builder.append_value(text);
    Ok(text.len() + 4)
}
