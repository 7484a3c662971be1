package realtime

import "strings"

// Refusals are the reasons with which Realtime refuses joins, by their code: that before the colon (lib/realtime_web/channels/realtime_channel.ex). The
// two that have none have names that are not the server's.
var Refusals = map[string]string{
	"TopicNameRequired":                  "You must provide a topic name",
	"InvalidJWTToken":                    "Token has expired 1 seconds ago",
	"MalformedJWT":                       noValidJWT,
	"JwtSignatureError":                  "Failed to validate JWT signature",
	"JwtSignerError":                     noSigner,
	"Unauthorized":                       noRead + "room1",
	"PrivateOnly":                        "This project only allows private channels",
	"TenantNotFound":                     "Tenant with the given ID does not exist",
	"RealtimeDisabledForTenant":          "Realtime disabled for this tenant",
	"UnableToReplayMessages":             "Realtime was unable to replay messages",
	"ChannelRateLimitReached":            "Too many channels",
	"ConnectionRateLimitReached":         "Too many connected users",
	"ClientJoinRateLimitReached":         "Too many joins per second",
	"InitializingProjectConnection":      "Connecting to the project database",
	"RealtimeRestarting":                 "Realtime is restarting, please standby",
	"DatabaseLackOfConnections":          "Database can't accept more connections, Realtime won't connect",
	"DatabaseConnectionRateLimitReached": "Too many database connections attempts per second",
	"IncreaseConnectionPool":             "Please increase your connection pool size",
	"UnableToConnectToProject":           noDatabase,
	"QueryCanceled":                      "canceling statement due to user request",
	"MissingPartition":                   "Realtime was unable to find the expected messages partition",
	"TimeoutOnRpcCall":                   "Node request timeout",
	"ErrorOnRpcCall":                     "RPC call error: :badrpc",
	"MusterJoinError":                    "timed out after 4000ms",
	"UnknownErrorOnChannel":              "no function clause matching in RealtimeWeb.RealtimeChannel.join/3",

	withoutCode + "Policies": noDatabase,
	withoutCode + "Unknown":  "Unknown Error on Channel",
}

const (
	noRead      = "You do not have permissions to read from this Channel topic: "
	noDatabase  = "Realtime was unable to connect to the project database"
	withoutCode = "None"
)

// reasonOf is the reason of a refused join for a code of Refusals; any other text is a reason itself.
func reasonOf(code string) string {
	message, known := Refusals[code]
	switch {
	case !known:
		return code
	case strings.HasPrefix(code, withoutCode):
		return message
	}
	return code + ": " + message
}

// disconnects tells whether a refusal also ends the socket, with 1001.
func disconnects(reason string) bool {
	code, _, _ := strings.Cut(reason, ":")
	return code == "TenantNotFound" || code == "ClientJoinRateLimitReached"
}

// A joinError is the reason of a refused join.
type joinError string

// Error implements error.
func (e joinError) Error() string { return string(e) }
