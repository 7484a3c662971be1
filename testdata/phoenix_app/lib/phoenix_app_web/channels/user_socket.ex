defmodule PhoenixAppWeb.UserSocket do
  @moduledoc "Lets everybody in whose param `token` is not one of three, and remembers what it saw."

  use Phoenix.Socket

  channel "room:*", PhoenixAppWeb.RoomChannel
  channel "presence:*", PhoenixAppWeb.PresenceChannel
  channel "log:*", PhoenixAppWeb.LogChannel
  channel "__absinthe__:*", PhoenixAppWeb.AbsintheChannel

  @impl true
  def connect(%{"token" => "bad"}, _socket, _info), do: :error
  def connect(%{"token" => "expired"}, _socket, _info), do: {:error, :expired}
  def connect(%{"token" => "overloaded"}, _socket, _info), do: {:error, :overloaded}

  def connect(params, socket, info) do
    seen = %{
      params: params,
      headers: Enum.map(info.x_headers, &Tuple.to_list/1),
      auth_token: info[:auth_token],
      path: info.uri.path
    }

    {:ok, assign(socket, user_id: params["user_id"], seen: seen)}
  end

  @impl true
  def id(%{assigns: %{user_id: nil}}), do: nil
  def id(%{assigns: %{user_id: user_id}}), do: id_of(user_id)

  @doc "The topic on which the sockets of a user can be disconnected."
  def id_of(user_id), do: "user_socket:#{user_id}"

  @doc "Answers what `connect/3` has refused with a reason."
  def handle_error(conn, :expired) do
    conn
    |> Plug.Conn.put_resp_content_type("application/json")
    |> Plug.Conn.send_resp(401, ~s({"error":"the token has expired"}))
  end

  def handle_error(conn, :overloaded), do: Plug.Conn.send_resp(conn, 503, "come back later")
end
