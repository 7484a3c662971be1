defmodule PhoenixAppWeb.LogChannel do
  @moduledoc """
  Sends the entries of a numbered log: after a join with `since` those that follow it, else those that come. The push `append` adds
  some.
  """

  use Phoenix.Channel

  alias PhoenixApp.{Logs, PubSub}

  @impl true
  def join("log:" <> _ = topic, params, socket) do
    # Before the look at the log, so that no entry comes between the two.
    :ok = Phoenix.PubSub.subscribe(PubSub, "entries of " <> topic)
    send(self(), :more)
    {:ok, assign(socket, :sent, params["since"] || Logs.last(topic))}
  end

  @impl true
  def handle_in("append", %{"count" => count}, socket) do
    last = Logs.append(socket.topic, count)
    Phoenix.PubSub.broadcast!(PubSub, "entries of " <> socket.topic, :more)
    {:reply, {:ok, %{last: last}}, socket}
  end

  @impl true
  def handle_info(:more, socket) do
    last = Logs.last(socket.topic)
    for n <- (socket.assigns.sent + 1)..last//1, do: push(socket, "entry", %{n: n})
    {:noreply, assign(socket, :sent, max(last, socket.assigns.sent))}
  end
end
