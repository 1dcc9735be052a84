import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;

/** pgjdbc: passwords and TLS. Usage: Login HOST:PORT CA USER PASSWORD */
public class Login {
    public static void main(String[] arguments) throws Exception {
        String place = "jdbc:postgresql://" + arguments[0] + "/lake?";
        String user = arguments[2], password = arguments[3];
        for (String tls : new String[] {"sslmode=disable", "sslmode=require", "sslmode=verify-full&sslrootcert=" + arguments[1]}) {
            try (Connection connection = DriverManager.getConnection(place + tls, user, password)) {
                ResultSet row = connection.createStatement().executeQuery("SELECT current_user");
                if (!row.next() || !row.getString(1).equals(user)) {
                    throw new AssertionError("somebody else");
                }
            }
        }
        try {
            DriverManager.getConnection(place, user, "x");
            throw new AssertionError("a wrong password was taken");
        } catch (SQLException error) {
            if (!"28P01".equals(error.getSQLState())) {
                throw error;
            }
        }
        System.out.println("pgjdbc logs in");
    }
}
