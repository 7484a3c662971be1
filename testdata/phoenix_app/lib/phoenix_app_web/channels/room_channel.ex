defmodule PhoenixAppWeb.RoomChannel do
  @moduledoc "Rooms: the topic, and the params of the join, say how it goes; in a room, the event says what to do."

  use Phoenix.Channel

  alias PhoenixApp.Attempts

  @impl true
  def join("room:private", _params, _socket), do: {:error, %{reason: "unauthorized"}}
  def join("room:raises", _params, _socket), do: raise("the join crashes, as asked for")

  # The attempt of that number, of those with the same key, takes its time; without one, each does.
  def join("room:slow" <> _, %{"ms" => ms} = params, socket) do
    if params["nth"] in [nil, Attempts.next(params["key"])], do: Process.sleep(ms)
    {:ok, params, socket}
  end

  # The first attempts with the same key are refused.
  def join("room:flaky" <> _, %{"key" => key, "failures" => failures}, socket) do
    attempt = Attempts.next(key)
    if attempt > failures, do: {:ok, socket}, else: {:error, %{attempt: attempt}}
  end

  def join("room:" <> _, params, socket), do: {:ok, params, socket}

  # Replies. A binary payload comes as {:binary, data}, and goes back as one.
  @impl true
  def handle_in("echo" <> _, payload, socket), do: {:reply, {:ok, payload}, socket}
  def handle_in("error", payload, socket), do: {:reply, {:error, payload}, socket}
  def handle_in("custom", payload, socket), do: {:reply, {:custom, payload}, socket}
  def handle_in("silent", _payload, socket), do: {:noreply, socket}

  # Replies with the text as its JSON, whatever its spelling.
  def handle_in("verbatim", %{"text" => text}, socket) do
    {:reply, {:ok, Jason.Fragment.new(text)}, socket}
  end

  def handle_in("size", {:binary, data}, socket) do
    {:reply, {:ok, %{bytes: byte_size(data)}}, socket}
  end

  def handle_in("size", %{"text" => text}, socket) do
    {:reply, {:ok, %{bytes: byte_size(text)}}, socket}
  end

  # What the server saw of the client.
  def handle_in("whoami", _payload, socket), do: {:reply, {:ok, socket.assigns.seen}, socket}

  # Nothing else happens in this channel meanwhile.
  def handle_in("slow", %{"ms" => ms} = payload, socket) do
    Process.sleep(ms)
    {:reply, {:ok, payload}, socket}
  end

  # Everything else does, and replies may overtake this one.
  def handle_in("delayed", %{"ms" => ms} = payload, socket) do
    Process.send_after(self(), {:delayed, socket_ref(socket), payload}, ms)
    {:noreply, socket}
  end

  # Ends.
  def handle_in("crash", _payload, _socket), do: raise("the channel crashes, as asked for")
  def handle_in("stop", _payload, socket), do: {:stop, :normal, socket}

  # The process of the client's socket, with all its channels.
  def handle_in("kill_transport", _payload, socket) do
    Process.exit(socket.transport_pid, :kill)
    {:noreply, socket}
  end

  # To this client alone, and not as a reply.
  def handle_in("push_back", payload, socket) do
    push(socket, "pushed", payload)
    {:reply, :ok, socket}
  end

  # To everybody in the room.
  def handle_in("broadcast" <> _ = event, payload, socket) do
    broadcast!(socket, event, payload)
    {:reply, :ok, socket}
  end

  def handle_in("flood", %{"count" => count}, socket) do
    for n <- 1..count//1, do: broadcast!(socket, "flood", %{n: n})
    {:reply, :ok, socket}
  end

  @impl true
  def handle_info({:delayed, ref, payload}, socket) do
    reply(ref, {:ok, payload})
    {:noreply, socket}
  end
end
