defmodule PhoenixApp.Attempts do
  @moduledoc "Counts the attempts of each key, for what is to fail only at some of them."

  use Agent

  def start_link(_), do: Agent.start_link(fn -> %{} end, name: __MODULE__)

  @doc "Which attempt of the key this is, from 1."
  def next(key) do
    Agent.get_and_update(__MODULE__, fn counts ->
      n = Map.get(counts, key, 0) + 1
      {n, Map.put(counts, key, n)}
    end)
  end
end
