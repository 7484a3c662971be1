import Config

adapter =
  case System.get_env("ADAPTER", "bandit") do
    "bandit" -> Bandit.PhoenixAdapter
    "cowboy" -> Phoenix.Endpoint.Cowboy2Adapter
  end

{:ok, ip} = System.get_env("BIND", "127.0.0.1") |> String.to_charlist() |> :inet.parse_address()

config :logger, level: String.to_existing_atom(System.get_env("LOG_LEVEL", "error"))

config :phoenix_app, PhoenixAppWeb.Endpoint,
  adapter: adapter,
  http: [ip: ip, port: String.to_integer(System.get_env("PORT", "0"))]
