//! Files and tables: raw zone, Parquet, one Iceberg commit that carries data and offsets. No DataFusion.
