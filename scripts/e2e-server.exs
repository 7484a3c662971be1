# The Phoenix application that scripts/e2e tests against; that file says what it must offer. It listens on a free port of loopback,
# prints the URI of its socket when it is ready, and runs until it is killed.

unless Code.ensure_loaded?(Phoenix) do
  Mix.install([{:phoenix, "~> 1.8"}, {:bandit, "~> 1.5"}, {:jason, "~> 1.4"}])
end

for app <- [:phoenix, :bandit, :jason], do: {:ok, _} = Application.ensure_all_started(app)

# stdout has the URI and nothing else.
Logger.configure(level: :none)

Application.put_env(:phoenix, :json_library, Jason)

Application.put_env(:e2e, E2E.Endpoint,
  adapter: Bandit.PhoenixAdapter,
  http: [ip: {127, 0, 0, 1}, port: 0],
  server: true,
  secret_key_base: String.duplicate("e2e_", 16),
  pubsub_server: E2E.PubSub
)

defmodule E2E.RoomChannel do
  use Phoenix.Channel

  def join("room:private", _params, _socket), do: {:error, %{reason: "unauthorized"}}
  def join("room:crashjoin", _params, _socket), do: raise("as asked for")
  def join("room:" <> _, _params, socket), do: {:ok, socket}

  def handle_in("ping", payload, socket), do: {:reply, {:ok, payload}, socket}
  def handle_in("fail", _payload, socket), do: {:reply, {:error, %{reason: "failed"}}, socket}
  def handle_in("noreply", _payload, socket), do: {:noreply, socket}
  def handle_in("crash", _payload, _socket), do: raise("as asked for")
  def handle_in("stop", _payload, socket), do: {:stop, :normal, socket}

  def handle_in("new_msg", payload, socket) do
    broadcast!(socket, "new_msg", payload)
    {:reply, :ok, socket}
  end
end

defmodule E2E.UserSocket do
  use Phoenix.Socket

  channel "room:*", E2E.RoomChannel

  def connect(%{"token" => "bad"}, _socket, _info), do: :error
  def connect(_params, socket, _info), do: {:ok, socket}

  def id(_socket), do: nil
end

defmodule E2E.Endpoint do
  use Phoenix.Endpoint, otp_app: :e2e

  socket "/socket", E2E.UserSocket, websocket: true
end

{:ok, _} =
  Supervisor.start_link([{Phoenix.PubSub, name: E2E.PubSub}, E2E.Endpoint], strategy: :one_for_one)

{:ok, {_ip, port}} = E2E.Endpoint.server_info(:http)
IO.puts("ws://127.0.0.1:#{port}/socket")

Process.sleep(:infinity)
