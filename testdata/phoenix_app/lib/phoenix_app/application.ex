defmodule PhoenixApp.Application do
  @moduledoc false

  use Application

  @impl true
  def start(_type, _args) do
    children = [
      PhoenixApp.Attempts,
      PhoenixApp.Logs,
      {Phoenix.PubSub, name: PhoenixApp.PubSub},
      PhoenixApp.Presence,
      PhoenixAppWeb.Endpoint
    ]

    with {:ok, pid} <-
           Supervisor.start_link(children, strategy: :one_for_one, name: PhoenixApp.Supervisor) do
      {:ok, {_ip, port}} = PhoenixAppWeb.Endpoint.server_info(:http)
      IO.puts("ready ws://127.0.0.1:#{port}/socket")
      {:ok, pid}
    end
  end
end
