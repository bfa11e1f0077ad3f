'use strict';
// The symbols that Node's C++ side shares with its JavaScript: PER_ISOLATE_SYMBOL_PROPERTIES and its private brother of
// src/env_properties.h.

exports.privateSymbols = Object.create(null);
for (const name of ['arrow_message_private_symbol', 'contextify_context_private_symbol', 'decorated_private_symbol',
                    'host_defined_option_symbol', 'napi_type_tag', 'napi_wrapper', 'untransferable_object_private_symbol',
                    'exiting_aliased_Uint32Array', 'require_private_symbol'])
  exports.privateSymbols[name] = native.privateSymbol(name);

exports.symbols = Object.create(null);
for (const name of ['default_host_defined_options', 'fs_use_promises_symbol', 'async_id_symbol', 'handle_onclose',
                    'no_message_symbol', 'messaging_deserialize_symbol', 'messaging_transfer_symbol',
                    'messaging_clone_symbol', 'messaging_transfer_list_symbol', 'oninit', 'owner_symbol', 'onpskexchange',
                    'resource_symbol', 'trigger_async_id_symbol', 'vm_dynamic_import_missing_flag'])
  exports.symbols[name] = Symbol(name);
