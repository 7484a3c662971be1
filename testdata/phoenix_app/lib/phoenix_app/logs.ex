defmodule PhoenixApp.Logs do
  @moduledoc "How many entries each log has. They are numbered from 1, and nothing else is kept of them."

  use Agent

  def start_link(_), do: Agent.start_link(fn -> %{} end, name: __MODULE__)

  @doc "The number of the last entry of a log."
  def last(topic), do: Agent.get(__MODULE__, &Map.get(&1, topic, 0))

  @doc "Adds entries, and returns the number of the last one."
  def append(topic, count) do
    Agent.get_and_update(__MODULE__, fn logs ->
      last = Map.get(logs, topic, 0) + count
      {last, Map.put(logs, topic, last)}
    end)
  end
end
