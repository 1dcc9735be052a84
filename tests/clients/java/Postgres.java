import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Types;
import java.util.ArrayList;
import java.util.List;

/** pgjdbc: metadata, prepared statements in text and binary, fetch sizes. Usage: Postgres HOST:PORT */
public class Postgres {
    public static void main(String[] arguments) throws Exception {
        try (Connection connection = DriverManager.getConnection("jdbc:postgresql://" + arguments[0] + "/lake?user=lacus&readOnlyMode=always")) {
            metadata(connection.getMetaData());
            values(connection);
            fetching(connection);
        }
        System.out.println("pgjdbc does what it does");
    }

    static void metadata(DatabaseMetaData data) throws SQLException {
        same(data.getDatabaseMajorVersion(), 15);
        same(column(data.getSchemas(), "TABLE_SCHEM").contains("shop"), true);
        same(column(data.getTables(null, "shop", "%", null), "TABLE_NAME"), List.of("things"));
        same(column(data.getTables(null, "main", "%", new String[] {"VIEW"}), "TABLE_NAME"), List.of("cheap"));
        List<String> names = new ArrayList<>();
        try (ResultSet columns = data.getColumns(null, "shop", "things", "%")) {
            while (columns.next()) {
                names.add(columns.getString("COLUMN_NAME") + " " + columns.getString("TYPE_NAME"));
                if (columns.getString("COLUMN_NAME").equals("price")) {
                    same(columns.getInt("DATA_TYPE"), Types.NUMERIC);
                    same(columns.getInt("COLUMN_SIZE") + "," + columns.getInt("DECIMAL_DIGITS"), "12,2");
                }
            }
        }
        same(names.subList(0, 4), List.of("id int8", "small int4", "ok bool", "price numeric"));
        same(names.size(), 16);
        same(column(data.getPrimaryKeys(null, "shop", "things"), "COLUMN_NAME"), List.of());
        same(column(data.getImportedKeys(null, "shop", "things"), "FKCOLUMN_NAME"), List.of());
        same(column(data.getIndexInfo(null, "shop", "things", false, true), "INDEX_NAME"), List.of());
        same(column(data.getTypeInfo(), "TYPE_NAME").contains("int8"), true);
        same(column(data.getCatalogs(), "TABLE_CAT"), List.of("lake"));
    }

    static void values(Connection connection) throws SQLException {
        String sql = "SELECT * FROM things WHERE id = ? AND name <> ?";
        // From the fifth time on the server prepares it, and answers are binary.
        for (int time = 0; time < 8; time++) {
            try (PreparedStatement statement = connection.prepareStatement(sql)) {
                statement.setLong(1, 1);
                statement.setString(2, "nothing");
                try (ResultSet row = statement.executeQuery()) {
                    same(row.next(), true);
                    same(row.getLong("id"), 1L);
                    same(row.getBigDecimal("price").toString(), "19.90");
                    same(row.getDouble("ratio"), 0.1);
                    same(row.getBoolean("ok"), true);
                    same(row.getDate("day").toString(), "2026-11-21");
                    same(row.getTimestamp("at").toInstant().toString(), "2026-11-21T20:30:00.123456Z");
                    same(row.getBytes("raw").length, 2);
                    same(row.getObject("ref").toString(), "12345678-1234-5678-1234-567812345678");
                    same(((String[]) row.getArray("tags").getArray())[1], "b,c");
                    same(row.next(), false);
                }
            }
        }
        try (Statement statement = connection.createStatement()) {
            statement.setQueryTimeout(1);
            statement.executeQuery("SELECT count(*) FROM generate_series(1, 100000000) a, generate_series(1, 100000000) b");
            throw new IllegalStateException("it ended");
        } catch (SQLException error) {
            same(error.getSQLState(), "57014");
        }
        connection.setReadOnly(true);
        try (Statement statement = connection.createStatement()) {
            statement.executeUpdate("DELETE FROM things");
            throw new IllegalStateException("it was done");
        } catch (SQLException error) {
            same(error.getSQLState(), "25006");
        }
        connection.setReadOnly(false);
    }

    static void fetching(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        try (Statement statement = connection.createStatement()) {
            statement.setFetchSize(100);
            int rows = 0;
            try (ResultSet all = statement.executeQuery("SELECT value FROM generate_series(1, 1000)")) {
                while (all.next()) {
                    rows += 1;
                }
            }
            same(rows, 1000);
        }
        connection.rollback();
        connection.setAutoCommit(true);
    }

    static List<String> column(ResultSet rows, String name) throws SQLException {
        List<String> values = new ArrayList<>();
        while (rows.next()) {
            values.add(rows.getString(name));
        }
        rows.close();
        return values;
    }

    static void same(Object found, Object expected) {
        if (!found.equals(expected)) {
            throw new IllegalStateException("found " + found + ", expected " + expected);
        }
    }
}
