package phoenixtest_test

import (
	"time"

	"phx/phoenix/phoenixtest/peer"
)

// A scenario is the recording of one name in the directories of its vsns, on Bandit and on
// Cowboy.
type scenario struct {
	in        []string    // the vsns it was recorded for
	config    peer.Config // the application's, as it was recorded
	unclaimed string      // why it is not replayed; "": it is
	loses     []string    // directories where the client was still writing 10 MB when the
	// server hung up, and lost the close frame to the reset: a race of TCP, not of Phoenix
}

var (
	both  = []string{"v1", "v2"}
	only1 = []string{"v1"}
	only2 = []string{"v2"}
)

const noLongPoll = "the server has no long poll yet"

// scenarios claims every transcript of a server, or says why not.
var scenarios = map[string]scenario{
	"auth_token":                              {in: only2},
	"binary_broadcast":                        {in: only2},
	"binary_join":                             {in: only2},
	"binary_push":                             {in: only2},
	"binary_reply":                            {in: only2},
	"broadcast":                               {in: both},
	"client_close_bad_code":                   {in: both},
	"client_close_codes":                      {in: both},
	"client_sends_reserved_events":            {in: both},
	"compress":                                {in: both, config: peer.Config{Compress: true}},
	"connect_flaky":                           {in: both},
	"connect_heartbeat":                       {in: both},
	"crash":                                   {in: both},
	"drain_sigterm":                           {in: both},
	"flood_small":                             {in: both},
	"fragmented_text":                         {in: both},
	"heartbeat_odd":                           {in: both},
	"http_errors":                             {in: only2},
	"idle_timeout":                            {in: both, config: peer.Config{IdleTimeout: 2 * time.Second}},
	"idle_timeout_ping_keeps_alive":           {in: both, config: peer.Config{IdleTimeout: 2 * time.Second}},
	"idle_timeout_server_pushes":              {in: both, config: peer.Config{IdleTimeout: 2 * time.Second}},
	"invalid_utf8":                            {in: both},
	"join_crash":                              {in: both},
	"join_double":                             {in: both},
	"join_error":                              {in: both},
	"join_flaky_retry":                        {in: both},
	"join_greet":                              {in: both},
	"join_integer_refs":                       {in: both},
	"join_null_join_ref":                      {in: both},
	"join_ok":                                 {in: both},
	"join_params":                             {in: both},
	"join_payload_not_a_map":                  {in: both},
	"join_pipelined":                          {in: both},
	"join_ref_differs_from_ref":               {in: both},
	"join_slow":                               {in: both},
	"join_unmatched_topic":                    {in: both},
	"kick":                                    {in: both},
	"kick_by_http":                            {in: both},
	"kill_transport":                          {in: both},
	"large_frames":                            {in: both, loses: []string{"v1", "cowboy/v1", "cowboy/v2"}},
	"large_server_push":                       {in: both},
	"leave":                                   {in: both},
	"leave_join_pipelined":                    {in: both},
	"leave_then_push":                         {in: both},
	"longpoll_auth_token":                     {in: both, unclaimed: noLongPoll},
	"longpoll_basic":                          {in: both, unclaimed: noLongPoll},
	"longpoll_batch":                          {in: both, unclaimed: noLongPoll},
	"longpoll_batch_over_100":                 {in: only2, unclaimed: noLongPoll},
	"longpoll_binary":                         {in: only2, unclaimed: noLongPoll},
	"longpoll_broadcast":                      {in: both, unclaimed: noLongPoll},
	"longpoll_errors":                         {in: both, unclaimed: noLongPoll},
	"longpoll_expired":                        {in: both, unclaimed: noLongPoll},
	"longpoll_header_token":                   {in: both, unclaimed: noLongPoll},
	"longpoll_kick":                           {in: both, unclaimed: noLongPoll},
	"longpoll_malformed":                      {in: both, unclaimed: noLongPoll},
	"malformed_binary_empty":                  {in: only2},
	"malformed_binary_junk":                   {in: only2},
	"malformed_binary_kind1":                  {in: only2},
	"malformed_binary_short":                  {in: only2},
	"malformed_duplicate_keys":                {in: both},
	"malformed_empty":                         {in: both},
	"malformed_event_null":                    {in: both},
	"malformed_extra_keys":                    {in: both},
	"malformed_heartbeat_unjoined_null_topic": {in: both},
	"malformed_json_null":                     {in: both},
	"malformed_json_number":                   {in: both},
	"malformed_json_string":                   {in: both},
	"malformed_long_array":                    {in: both},
	"malformed_missing_event":                 {in: both},
	"malformed_missing_payload":               {in: both},
	"malformed_missing_ref":                   {in: both},
	"malformed_not_json":                      {in: both},
	"malformed_short_array":                   {in: both},
	"malformed_topic_number":                  {in: both},
	"malformed_wrong_container":               {in: both},
	"max_frame_size":                          {in: both, config: peer.Config{MaxFrameSize: 1000}},
	"origin":                                  {in: only2, config: peer.Config{CheckOrigin: true}},
	"presence":                                {in: both},
	"push_delayed_and_order":                  {in: both},
	"push_delayed_then_leave":                 {in: both},
	"push_noreply":                            {in: both},
	"push_not_joined":                         {in: both},
	"push_null_ref":                           {in: both},
	"push_reply_error":                        {in: both},
	"push_reply_odd":                          {in: both},
	"push_reply_ok":                           {in: both},
	"push_same_ref_twice":                     {in: both},
	"push_stale_join_ref":                     {in: both},
	"push_unhandled_event":                    {in: both},
	"raise_transport":                         {in: both},
	"refused":                                 {in: both},
	"reserved_bit":                            {in: both},
	"reserved_opcode":                         {in: both},
	"server_push":                             {in: both},
	"stop":                                    {in: both},
	"stop_reply":                              {in: both},
	"too_many_channels":                       {in: both, config: peer.Config{MaxChannels: 3}},
	"unmasked_frame":                          {in: both},
	"v1_binary_frame":                         {in: only1},
	"v1_binary_server_push":                   {in: only1},
	"v1_text_in_binary_frame":                 {in: only1},
	"vsn":                                     {in: only2},
	"whoami":                                  {in: both},
	"ws_ping":                                 {in: both},
}
