defmodule PhoenixAppWeb.ControlController do
  @moduledoc "What somebody else than the clients does."

  use Phoenix.Controller, formats: [:json]

  alias PhoenixAppWeb.{Endpoint, UserSocket}

  def health(conn, _params) do
    json(conn, %{
      adapter: Endpoint.config(:adapter) |> adapter(),
      phoenix: version(:phoenix),
      bandit: version(:bandit),
      cowboy: version(:cowboy),
      elixir: System.version(),
      otp: System.otp_release()
    })
  end

  def broadcast(conn, %{"topic" => topic, "event" => event, "payload" => payload}) do
    Endpoint.broadcast!(topic, event, payload)
    json(conn, %{})
  end

  def disconnect(conn, %{"user_id" => user_id}) do
    Endpoint.broadcast!(UserSocket.id_of(user_id), "disconnect", %{})
    json(conn, %{})
  end

  defp adapter(Bandit.PhoenixAdapter), do: "bandit"
  defp adapter(Phoenix.Endpoint.Cowboy2Adapter), do: "cowboy"

  defp version(app), do: to_string(Application.spec(app, :vsn))
end
