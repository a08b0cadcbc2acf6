---@meta mjtask
-- Types of the public interface, for editors (LuaCATS). Nothing here runs. spec/types_spec.lua
-- compares it with what there is.

-- ---- what a server sends ------------------------------------------------------------------------

---@class mjtask.Task A task's own JSON, unknown fields included; `null` is absent.
---@field id? string
---@field status? string SUCCESS, FAILURE, IN_PROGRESS …; an open set, see `outcome`
---@field action? string IMAGINE, UPSCALE …; an open set
---@field progress? string such as "46%", see `percent`
---@field prompt? string
---@field promptEn? string
---@field description? string
---@field failReason? string
---@field state? string what the submit gave
---@field submitTime? integer milliseconds since 1970, like startTime and finishTime
---@field startTime? integer 0 where new-api has none
---@field finishTime? integer
---@field imageUrl? string a preview while the task runs, see `images`
---@field buttons? mjtask.Button[] see `button`
---@field properties? table<string, any>
---@field customId? string
---@field botType? string
---@field maskBase64? string
---@field seed? string
---@field cost? number
---@field [string] any
---@field button fun(self: mjtask.Task, query: string|mjtask.ButtonQuery): mjtask.Button?, mjtask.Error? the one button that is meant
---@field outcome fun(self: mjtask.Task): mjtask.Outcome? nil while it runs
---@field percent fun(self: mjtask.Task): number? 0 to 100
---@field images fun(self: mjtask.Task): string[] URLs, videos after pictures
---@field expires fun(self: mjtask.Task): integer? Unix seconds at which the URL dies

---@alias mjtask.Outcome "success"|"failed"|"cancelled"|"needs_input"

---@class mjtask.Button A button, just as the server sent it.
---@field customId? string what a press submits; a link has none (webman-php spells it custom_id)
---@field label? string "" or absent where the button shows an emoji
---@field emoji? string|{ name: string } an object in the TypeScript port and in webman-php
---@field type? integer
---@field style? integer

---@class mjtask.ButtonQuery What a button does; labels change with Midjourney's versions.
---@field kind string operation word of the customId, exactly: `upsample`, `reroll`, `Outpaint`
---@field index? integer first number after that word; without it any index fits

---@class mjtask.Receipt What a submit was answered; tostring gives the id.
---@field id? string the new task's; nil for an upload
---@field ids string[] several where one press makes several tasks
---@field code integer the server's: 1, 22 (queued), 21 (exists already), 0, 200
---@field description? string
---@field queue? integer how many are before it
---@field result any the wire's own
---@field properties? table<string, any>

---@class mjtask.Error A failure of the world; one readable line by tostring.
---@field kind mjtask.Kind
---@field message string one line, without secrets
---@field retryable boolean may the same call well succeed later?
---@field status? integer HTTP's
---@field code? integer the server's own
---@field retry_after? number seconds
---@field id? string
---@field attempts? integer requests sent
---@field elapsed? number seconds
---@field task? mjtask.Task the last that was seen
---@field receipt? mjtask.Receipt with `needs_input`, of a submit: of the task that waits for a modal

---@alias mjtask.Kind
---| "dns" | "connect" | "tls" | "timeout" | "stalled" | "http" | "auth" | "quota"
---| "rate_limited" | "not_found" | "redirect" | "decode" | "schema" | "too_large" | "busy"
---| "banned" | "rejected" | "unknown_fate" | "failed" | "cancelled" | "needs_input"
---| "no_button" | "ambiguous" | "no_image" | "unsupported" | "expired" | "not_image" | "io"
---| "aborted" | "closed"

-- ---- options ------------------------------------------------------------------------------------

---@class mjtask.CallOptions Of every call; in `mjtask.new` for all calls.
---@field timeout? number seconds for the whole call: 60; wait, watch, download 600
---@field request_timeout? number seconds for one try: 30; of a download, without a byte
---@field retries? integer further tries of one request: 2
---@field interval? number seconds between looks, at first: the provider's, or 5
---@field max_interval? number seconds between looks, at most: 30
---@field stall? number seconds without a change that end a wait: off
---@field max_body? integer bytes of an answer: 8 MiB; download 64 MiB

---@class mjtask.WaitOptions : mjtask.CallOptions
---@field progress? fun(task: mjtask.Task, percent?: number) at the first look and at each change

---@class mjtask.PressOptions : mjtask.CallOptions
---@field modal? mjtask.Modal the answer if the server asks for one

---@class mjtask.Modal
---@field prompt? string
---@field mask? string a data URL, see mjtask.data_url

---@class mjtask.DownloadOptions : mjtask.CallOptions
---@field overwrite? boolean replace an existing file
---@field progress? fun(bytes: integer, total?: integer)

---@class mjtask.ClientOptions : mjtask.CallOptions
---@field provider? string a row of mjtask.providers; MJTASK_PROVIDER
---@field url? string with or without path, mode prefix, trailing /mj; MJTASK_URL
---@field key? string MJTASK_KEY
---@field auth? mjtask.Auth MJTASK_AUTH
---@field headers? table<string, string>
---@field user_agent? string
---@field proxy? string "" ignores the environment's
---@field cafile? string replaces the system's certificates
---@field allow_http? boolean plain http to another machine
---@field allow_private? boolean downloads from private addresses
---@field max_inflight? integer requests at once: 16
---@field loop? mjtask.Adapter in coroutines of that loop calls yield
---@field trace? fun(event: mjtask.TraceEvent) every request, answer and retry, and each sleep of wait

---@alias mjtask.Auth "auto"|"bearer"|"raw"|"mj-api-secret"|"none"

---@class mjtask.DecodeOptions
---@field strict? boolean an error, not U+FFFD, for half a surrogate or bad UTF-8
---@field null? any stands for null, which is absent by default
---@field max_body? integer bytes: 8 MiB

---@class mjtask.Provider A row of mjtask.providers.
---@field url? string
---@field auth? mjtask.Auth
---@field interval? number seconds
---@field change? boolean a server without buttons: U1…U4, V1…V4 and reroll go to submit/change

---@class mjtask.TraceEvent
---@field event "request"|"answer"|"retry"|"wait"
---@field id? string
---@field attempt? integer of the call: with "request" and "answer"
---@field path? string with "request"
---@field status? integer|string|false HTTP's with "answer"; the task's with "wait"
---@field kind? mjtask.Kind with "answer", if it is an error; with "retry"
---@field seconds? number how long it sleeps: with "retry" and "wait"

-- ---- calls under way ----------------------------------------------------------------------------

---@class mjtask.Operation A call that was given a function; `<close>` cancels it.
---@field cancel fun(self: mjtask.Operation) `done` is told `aborted` by the next step
---@field done fun(self: mjtask.Operation): boolean has `done` been called?

---@class mjtask.Watcher Called, it gives the next task that has ended; nothing when all have. `<close>` closes it.
---@overload fun(): string?, mjtask.Task?, mjtask.Error?
---@field add fun(self: mjtask.Watcher, id: mjtask.Id): boolean false: it is watched already
---@field close fun(self: mjtask.Watcher) nothing more is told, but to a callback its end
---@field cancel fun(self: mjtask.Watcher) the same
---@field done fun(self: mjtask.Watcher): boolean has all been told?

---@alias mjtask.Id string|integer|{ id?: string|integer } an id, or what has one: a task, a receipt
---@alias mjtask.Done.Task fun(task?: mjtask.Task, err?: mjtask.Error)
---@alias mjtask.Done.Tasks fun(tasks?: table<string, mjtask.Task>, errors: table<string, mjtask.Error>|mjtask.Error)
---@alias mjtask.Done.Receipt fun(receipt?: mjtask.Receipt, err?: mjtask.Error)
---@alias mjtask.Done.Cancelled fun(cancelled?: true, err?: mjtask.Error)
---@alias mjtask.Done.Text fun(text?: string, err?: mjtask.Error)
---@alias mjtask.Each fun(id?: string, task?: mjtask.Task, err?: mjtask.Error) at the end without an id

---@alias mjtask.Adapter fun(client: mjtask.Client): mjtask.Loop what a module of mjtask.loop gives

---@class mjtask.Loop A host's loop, for one client.
---@field current fun(): thread|false|nil the running coroutine, if it may be parked
---@field park fun() parks it until it is woken; to be woken too soon does no harm
---@field wake fun(thread: thread) from `step`
---@field busy fun(on: boolean) is anything under way? So that the host's loop can end
---@field detach fun() called before the descriptor is closed
---@field unyielding? boolean park does not yield, and so works outside of coroutines

-- ---- a client -----------------------------------------------------------------------------------

---@class mjtask.Client What `mjtask.new` gives; `<close>` closes it.
local client = {} -- luacheck: ignore 241

--- The task: GET /mj/task/{id}/fetch.
---@param id mjtask.Id
---@param options? mjtask.CallOptions
---@return mjtask.Task? task
---@return mjtask.Error? err
---@overload fun(self: mjtask.Client, id: mjtask.Id, done: mjtask.Done.Task): mjtask.Operation
---@overload fun(self: mjtask.Client, id: mjtask.Id, options: mjtask.CallOptions?, done: mjtask.Done.Task): mjtask.Operation
function client:fetch(id, options) end

--- Many tasks: by lists where the server has them, else at most max_inflight at once.
---@param ids mjtask.Id[]
---@param options? mjtask.CallOptions
---@return table<string, mjtask.Task>? tasks by id; nil if nothing could be asked
---@return table<string, mjtask.Error>|mjtask.Error errors by id; or the one
---@overload fun(self: mjtask.Client, ids: mjtask.Id[], done: mjtask.Done.Tasks): mjtask.Operation
---@overload fun(self: mjtask.Client, ids: mjtask.Id[], options: mjtask.CallOptions?, done: mjtask.Done.Tasks): mjtask.Operation
function client:fetch_many(ids, options) end

--- Looks at a task until it has ended.
---@param id mjtask.Id
---@param options? mjtask.WaitOptions
---@return mjtask.Task? task once it succeeded
---@return mjtask.Error? err with `task`, where one is known
---@overload fun(self: mjtask.Client, id: mjtask.Id, done: mjtask.Done.Task): mjtask.Operation
---@overload fun(self: mjtask.Client, id: mjtask.Id, options: mjtask.WaitOptions?, done: mjtask.Done.Task): mjtask.Operation
function client:wait(id, options) end

--- Looks at many tasks until each has ended: `for id, task, err in mj:watch(ids) do`. The time limit
--- is each task's own.
---@param ids mjtask.Id[]
---@param options? mjtask.WaitOptions
---@return mjtask.Watcher
---@overload fun(self: mjtask.Client, ids: mjtask.Id[], each: mjtask.Each): mjtask.Watcher
---@overload fun(self: mjtask.Client, ids: mjtask.Id[], options: mjtask.WaitOptions?, each: mjtask.Each): mjtask.Watcher
function client:watch(ids, options) end

--- Somebody says that there is news of a task: whoever waits for it looks soon, at most once a
--- second.
---@param id mjtask.Id what nobody waits for does nothing
function client:hint(id) end

--- POST /mj/submit/<name>. It is sent once: a lost answer is `unknown_fate`.
---@param name string imagine, blend, describe, shorten, action, modal, change, video, …
---@param body table<string, any> ids are strings; `{}` is an object
---@param options? mjtask.CallOptions
---@return mjtask.Receipt? receipt
---@return mjtask.Error? err
---@overload fun(self: mjtask.Client, name: string, body: table, done: mjtask.Done.Receipt): mjtask.Operation
---@overload fun(self: mjtask.Client, name: string, body: table, options: mjtask.CallOptions?, done: mjtask.Done.Receipt): mjtask.Operation
function client:submit(name, body, options) end

--- Presses a button of a task that succeeded. An id is fetched first.
---@param task_or_id mjtask.Task|mjtask.Id
---@param query string|mjtask.ButtonQuery
---@param options? mjtask.PressOptions
---@return mjtask.Receipt? receipt of the task that the press makes
---@return mjtask.Error? err
---@overload fun(self: mjtask.Client, task_or_id: mjtask.Task|mjtask.Id, query: string|mjtask.ButtonQuery, done: mjtask.Done.Receipt): mjtask.Operation
---@overload fun(self: mjtask.Client, task_or_id: mjtask.Task|mjtask.Id, query: string|mjtask.ButtonQuery, options: mjtask.PressOptions?, done: mjtask.Done.Receipt): mjtask.Operation
function client:press(task_or_id, query, options) end

--- Cancels a task on the server, where it can do that; else `unsupported`.
---@param id mjtask.Id
---@param options? mjtask.CallOptions
---@return true? cancelled
---@return mjtask.Error? err
---@overload fun(self: mjtask.Client, id: mjtask.Id, done: mjtask.Done.Cancelled): mjtask.Operation
---@overload fun(self: mjtask.Client, id: mjtask.Id, options: mjtask.CallOptions?, done: mjtask.Done.Cancelled): mjtask.Operation
function client:cancel(id, options) end

--- The seed of a task's picture; one that the server is still looking for is waited for.
---@param id mjtask.Id
---@param options? mjtask.CallOptions
---@return string? seed
---@return mjtask.Error? err
---@overload fun(self: mjtask.Client, id: mjtask.Id, done: mjtask.Done.Text): mjtask.Operation
---@overload fun(self: mjtask.Client, id: mjtask.Id, options: mjtask.CallOptions?, done: mjtask.Done.Text): mjtask.Operation
function client:seed(id, options) end

--- Downloads a picture, without the key: the whole file or no file.
---@param url_or_task string|mjtask.Task for a task: its first picture
---@param path string
---@param options? mjtask.DownloadOptions
---@return string? path
---@return mjtask.Error? err
---@overload fun(self: mjtask.Client, url_or_task: string|mjtask.Task, path: string, done: mjtask.Done.Text): mjtask.Operation
---@overload fun(self: mjtask.Client, url_or_task: string|mjtask.Task, path: string, options: mjtask.DownloadOptions?, done: mjtask.Done.Text): mjtask.Operation
function client:download(url_or_task, path, options) end

--- Moves on what is under way, and runs the callbacks that are due; raises the error of one.
---@param seconds? number how long to wait for something to happen; nil: until it does
---@return boolean busy is anything still under way?
function client:step(seconds) end

--- The descriptor that is readable when step(0) has work, timers included.
---@return integer? fd nil: there is no epoll here, or the client is closed
function client:pollfd() end

--- How long a host without descriptors may sleep before step(0).
---@return number? seconds nil: nothing is under way
function client:timeout() end

--- Ends what is under way with the kind `closed`, and wipes the key. Idempotent.
function client:close() end

-- ---- the module ---------------------------------------------------------------------------------

---@class mjtask
---@field _VERSION string
---@field providers table<string, mjtask.Provider> the servers known by name; a script may add its own
local mjtask = {}

--- Makes a client. Raises on bad configuration.
---@param options? mjtask.ClientOptions
---@return mjtask.Client
function mjtask.new(options) end

--- Reads a task that came some other way: a webhook's body, a file.
---@param json string
---@param options? mjtask.DecodeOptions
---@return mjtask.Task? task
---@return mjtask.Error? err
function mjtask.decode(json, options) end

--- The one button that a query means: by label, emoji, customId, label in any case; or by meaning.
---@param task mjtask.Task|table
---@param query string|mjtask.ButtonQuery
---@return mjtask.Button? button
---@return mjtask.Error? err `no_button` or `ambiguous`
function mjtask.button(task, query) end

--- All buttons, or all that a query fits, in the task's order.
---@param task mjtask.Task|table
---@param query? string|mjtask.ButtonQuery
---@return mjtask.Button[]
function mjtask.buttons(task, query) end

--- How the task ended; nil while it runs.
---@param task mjtask.Task|table
---@return mjtask.Outcome?
function mjtask.outcome(task) end

--- How far it is: 0 to 100, or nil.
---@param task mjtask.Task|table
---@return number?
function mjtask.percent(task) end

--- The URLs of what it made, videos after pictures.
---@param task mjtask.Task|table
---@return string[]
function mjtask.images(task) end

--- When a signed URL dies, in Unix seconds; nil if it does not say.
---@param task_or_url mjtask.Task|table|string
---@return integer?
function mjtask.expires(task_or_url) end

--- A picture's bytes as blend, describe and masks want them: data:image/png;base64,…
---@param bytes string
---@param mime? string default: what the bytes say they are
---@return string
function mjtask.data_url(bytes, mime) end

return mjtask
