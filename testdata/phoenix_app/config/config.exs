import Config

config :phoenix, :json_library, Jason

config :phoenix_app, PhoenixAppWeb.Endpoint,
  server: true,
  url: [host: "localhost"],
  render_errors: [formats: [json: PhoenixAppWeb.ErrorJSON], layout: false],
  pubsub_server: PhoenixApp.PubSub,
  # It signs nothing that leaves this application.
  secret_key_base: String.duplicate("phoenix_app_", 6)
