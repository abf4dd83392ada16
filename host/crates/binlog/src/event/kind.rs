use std::fmt;

macro_rules! kinds {
    ($($name:ident = $byte:literal $text:literal,)*) => {
        /// An event's type.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum EventKind {
            /// A type that is not known.
            Unknown = 0,
            $($name = $byte,)*
        }

        impl EventKind {
            #[inline]
            pub fn from_byte(byte: u8) -> Self {
                match byte {
                    $($byte => Self::$name,)*
                    _ => Self::Unknown,
                }
            }
        }

        impl fmt::Display for EventKind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    Self::Unknown => "event of unknown type",
                    $(Self::$name => $text,)*
                })
            }
        }
    };
}

kinds! {
    StartV3 = 1 "START_EVENT_V3",
    Query = 2 "QUERY_EVENT",
    Stop = 3 "STOP_EVENT",
    Rotate = 4 "ROTATE_EVENT",
    IntVar = 5 "INTVAR_EVENT",
    Load = 6 "LOAD_EVENT",
    CreateFile = 8 "CREATE_FILE_EVENT",
    AppendBlock = 9 "APPEND_BLOCK_EVENT",
    ExecLoad = 10 "EXEC_LOAD_EVENT",
    DeleteFile = 11 "DELETE_FILE_EVENT",
    NewLoad = 12 "NEW_LOAD_EVENT",
    Rand = 13 "RAND_EVENT",
    UserVar = 14 "USER_VAR_EVENT",
    FormatDescription = 15 "FORMAT_DESCRIPTION_EVENT",
    Xid = 16 "XID_EVENT",
    BeginLoadQuery = 17 "BEGIN_LOAD_QUERY_EVENT",
    ExecuteLoadQuery = 18 "EXECUTE_LOAD_QUERY_EVENT",
    TableMap = 19 "TABLE_MAP_EVENT",
    WriteRowsV0 = 20 "PRE_GA_WRITE_ROWS_EVENT",
    UpdateRowsV0 = 21 "PRE_GA_UPDATE_ROWS_EVENT",
    DeleteRowsV0 = 22 "PRE_GA_DELETE_ROWS_EVENT",
    WriteRowsV1 = 23 "WRITE_ROWS_EVENT_V1",
    UpdateRowsV1 = 24 "UPDATE_ROWS_EVENT_V1",
    DeleteRowsV1 = 25 "DELETE_ROWS_EVENT_V1",
    Incident = 26 "INCIDENT_EVENT",
    Heartbeat = 27 "HEARTBEAT_LOG_EVENT",
    Ignorable = 28 "IGNORABLE_LOG_EVENT",
    RowsQuery = 29 "ROWS_QUERY_LOG_EVENT",
    WriteRows = 30 "WRITE_ROWS_EVENT",
    UpdateRows = 31 "UPDATE_ROWS_EVENT",
    DeleteRows = 32 "DELETE_ROWS_EVENT",
    Gtid = 33 "GTID_LOG_EVENT",
    AnonymousGtid = 34 "ANONYMOUS_GTID_LOG_EVENT",
    PreviousGtids = 35 "PREVIOUS_GTIDS_LOG_EVENT",
    TransactionContext = 36 "TRANSACTION_CONTEXT_EVENT",
    ViewChange = 37 "VIEW_CHANGE_EVENT",
    XaPrepare = 38 "XA_PREPARE_LOG_EVENT",
    PartialUpdateRows = 39 "PARTIAL_UPDATE_ROWS_EVENT",
    TransactionPayload = 40 "TRANSACTION_PAYLOAD_EVENT",
    HeartbeatV2 = 41 "HEARTBEAT_LOG_EVENT_V2",
    GtidTagged = 42 "GTID_TAGGED_LOG_EVENT",
    MariaAnnotateRows = 160 "MariaDB's ANNOTATE_ROWS_EVENT",
    MariaBinlogCheckpoint = 161 "MariaDB's BINLOG_CHECKPOINT_EVENT",
    MariaGtid = 162 "MariaDB's GTID_EVENT",
    MariaGtidList = 163 "MariaDB's GTID_LIST_EVENT",
    MariaStartEncryption = 164 "MariaDB's START_ENCRYPTION_EVENT",
    MariaQueryCompressed = 165 "MariaDB's QUERY_COMPRESSED_EVENT",
    MariaWriteRowsCompressedV1 = 166 "MariaDB's WRITE_ROWS_COMPRESSED_EVENT_V1",
    MariaUpdateRowsCompressedV1 = 167 "MariaDB's UPDATE_ROWS_COMPRESSED_EVENT_V1",
    MariaDeleteRowsCompressedV1 = 168 "MariaDB's DELETE_ROWS_COMPRESSED_EVENT_V1",
    MariaWriteRowsCompressed = 169 "MariaDB's WRITE_ROWS_COMPRESSED_EVENT",
    MariaUpdateRowsCompressed = 170 "MariaDB's UPDATE_ROWS_COMPRESSED_EVENT",
    MariaDeleteRowsCompressed = 171 "MariaDB's DELETE_ROWS_COMPRESSED_EVENT",
}

impl EventKind {
    /// Why an event of this type cannot be gone past. Types that carry nothing, or that their reader understands, have no reason.
    pub fn refusal(self) -> Option<&'static str> {
        use EventKind as K;
        match self {
            K::WriteRowsV0 | K::UpdateRowsV0 | K::DeleteRowsV0 => Some("its format was never released"),
            K::StartV3
            | K::Load
            | K::CreateFile
            | K::AppendBlock
            | K::ExecLoad
            | K::DeleteFile
            | K::NewLoad
            | K::BeginLoadQuery
            | K::ExecuteLoadQuery => Some("it loads rows by a statement; set binlog_format=ROW"),
            K::PartialUpdateRows => Some("it holds parts of JSON values; run SET GLOBAL binlog_row_value_options=''"),
            K::MariaAnnotateRows
            | K::MariaBinlogCheckpoint
            | K::MariaGtid
            | K::MariaGtidList
            | K::MariaStartEncryption
            | K::MariaQueryCompressed
            | K::MariaWriteRowsCompressedV1
            | K::MariaUpdateRowsCompressedV1
            | K::MariaDeleteRowsCompressedV1
            | K::MariaWriteRowsCompressed
            | K::MariaUpdateRowsCompressed
            | K::MariaDeleteRowsCompressed => Some("MariaDB is not supported as a source yet"),
            _ => None,
        }
    }
}
