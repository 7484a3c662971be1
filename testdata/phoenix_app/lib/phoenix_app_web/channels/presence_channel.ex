defmodule PhoenixAppWeb.PresenceChannel do
  @moduledoc "Tracks who is here, by the socket's `user_id`."

  use Phoenix.Channel

  alias PhoenixApp.Presence

  @impl true
  def join("presence:" <> _, params, socket) do
    send(self(), :joined)
    {:ok, assign(socket, :meta, params)}
  end

  @impl true
  def handle_in("update", meta, socket) do
    {:ok, _} = Presence.update(socket, socket.assigns.user_id, meta)
    {:reply, :ok, socket}
  end

  @impl true
  def handle_info(:joined, socket) do
    {:ok, _} = Presence.track(socket, socket.assigns.user_id, socket.assigns.meta)
    push(socket, "presence_state", Presence.list(socket))
    {:noreply, socket}
  end
end
