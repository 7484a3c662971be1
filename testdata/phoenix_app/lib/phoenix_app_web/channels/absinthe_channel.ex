defmodule PhoenixAppWeb.AbsintheChannel do
  @moduledoc """
  The control channel of Absinthe, as `Absinthe.Phoenix.Channel` has it, with a schema in which every field is a subscription, and a
  mutation that publishes its variables to those who subscribed.
  """

  use Phoenix.Channel

  alias PhoenixApp.PubSub
  alias Phoenix.Socket.Broadcast

  @impl true
  def join("__absinthe__:control", _params, socket), do: {:ok, assign(socket, :docs, [])}

  @impl true
  def handle_in("doc", %{"query" => query} = payload, socket) do
    case Regex.run(~r/^\s*(subscription|mutation)\b[^{]*\{\s*(\w+)/, query, capture: :all_but_first) do
      ["subscription", field] -> subscribe(field, socket)
      ["mutation", field] -> publish(field, payload["variables"] || %{}, socket)
      nil -> {:reply, {:error, %{errors: [%{message: "syntax error before: #{inspect(query)}"}]}}, socket}
    end
  end

  # The data go past the channel, to the transport: their join_ref is null.
  defp subscribe(field, socket) do
    doc = "__absinthe__:doc:#{System.unique_integer([:positive])}:#{field}"
    fastlane = {:fastlane, socket.transport_pid, socket.serializer, []}
    :ok = Phoenix.PubSub.subscribe(PubSub, doc, metadata: fastlane)
    :ok = Phoenix.PubSub.subscribe(PubSub, "subscriptions to " <> field)
    socket = assign(socket, :docs, [{field, doc} | socket.assigns.docs])
    {:reply, {:ok, %{subscriptionId: doc}}, socket}
  end

  defp publish(field, value, socket) do
    Phoenix.PubSub.broadcast!(PubSub, "subscriptions to " <> field, {:published, field, value})
    {:reply, {:ok, %{data: %{field => value}}}, socket}
  end

  @impl true
  def handle_info({:published, field, value}, socket) do
    for {^field, doc} <- socket.assigns.docs do
      payload = %{result: %{data: %{field => value}}, subscriptionId: doc}
      message = %Broadcast{topic: doc, event: "subscription:data", payload: payload}
      Phoenix.PubSub.local_broadcast(PubSub, doc, message, Phoenix.Channel.Server)
    end

    {:noreply, socket}
  end
end
